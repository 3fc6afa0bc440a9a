//! Whether documents of the specification are valid: its JSON Schemas, and rules that no schema can say.
