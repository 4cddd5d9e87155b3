"""`hsiedge`, and `python -m hsiedge`: the program, before anything is imported that takes time."""

try:
    import gc
    import signal
except KeyboardInterrupt:  # it takes a millisecond itself, of its enumerations
    raise SystemExit(130) from None


def main() -> None:
    """Runs the command line. Ctrl-C ends the program without a word as long as it has nothing to tidy up."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.set_threshold(5_000)  # an import of PyTorch makes a quarter of a million objects, and none of them is garbage
    try:
        from hsiedge.cli.main import main as run

        run()
    finally:
        gc.freeze()  # else Python looks through all of them once more before it ends


if __name__ == "__main__":
    main()
