//! Everything that crosses between the control thread and the cores, each with its bound.
