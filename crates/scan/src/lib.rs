//! Whether loading a model's files could run code that somebody put into them.
