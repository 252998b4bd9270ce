"""What servers put out, as files: which kind each is, and whether it is what it should be. Bytes in, verdicts out."""
