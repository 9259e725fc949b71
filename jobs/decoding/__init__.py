"""Decoding: untrusted audio is decoded in a process apart, with limits and without secrets."""
