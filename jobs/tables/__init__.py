"""Tables: what is planned, committed, read back and checked under an output."""
