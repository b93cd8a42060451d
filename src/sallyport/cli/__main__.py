"""`python -m sallyport.cli`: the same command, without its script."""

from sallyport.cli import main

if __name__ == "__main__":
    main()
