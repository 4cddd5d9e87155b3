"""The native engine: integer kernels in C that stream a network row by row.

`program` is what a network is to it, `library` loads it, `build` compiles it; the C lies in `src`.
"""
