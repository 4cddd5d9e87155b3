"""C: an INT8 scene graph as one file of C99, for computers without Python; its kernels are the native engine's."""
