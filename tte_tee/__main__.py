"""``python -m tte_tee``."""

from tte_tee.cli import main

if __name__ == "__main__":
    main()
