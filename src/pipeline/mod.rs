//! RON text to a graph, every mistake at once.
