//! DINO, supervised training, linear probe.

pub mod supervised; // the deep-learning baseline and the linear layer
