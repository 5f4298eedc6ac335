//! Nodes, ports, keys.
