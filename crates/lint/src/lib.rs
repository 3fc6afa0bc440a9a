//! Which tools can use a model artifact, and what to change for those that cannot.
