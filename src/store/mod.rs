//! Content-addressed artefacts and their entries.
