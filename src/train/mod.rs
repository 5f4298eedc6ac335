//! DINO, supervised training, linear probe.
