"""The page of an explanation: waveform, spectrogram, contributions and window scores of one recording, with players."""
