"""What is planted: one `Planting` a code, its size stated, and what it brings with it written down beforehand."""
