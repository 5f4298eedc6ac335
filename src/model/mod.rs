//! XCiT, projection head, checkpoints.
