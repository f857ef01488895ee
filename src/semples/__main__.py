"""`python -m semples`, as torchrun and accelerate launch start it."""

from semples.cli import main

if __name__ == "__main__":
    main()
