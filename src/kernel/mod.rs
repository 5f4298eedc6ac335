//! CPU kernels, forward and backward.
