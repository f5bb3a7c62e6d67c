"""`python -m docrag` runs the command `docrag`."""

from docrag.cli import main

if __name__ == "__main__":
    main()
