//! In which order the layers of a model are fetched before anybody asks for them: as engines load them.

use modelpack_spec::{Artifact, Content, FilePath, LayerKind};

/// The numbers of the layers of `artifact` in the order of loading: configuration first, then the tokenizer and the index of the weights,
/// other small files, the weights in the order of their names, and what is no part of a running model last.
pub(crate) fn load_order(artifact: &Artifact) -> Vec<usize> {
    let mut order: Vec<usize> = (0..artifact.layers.len()).collect();
    order.sort_by_cached_key(|&number| {
        let layer = &artifact.layers[number];
        let path = match &layer.content {
            Content::File(path) | Content::Compressed(path, _) => Some(path),
            Content::Archive(_) | Content::Unnamed => layer.path.as_ref(),
        };
        (rank(layer.kind, path), path.map(|path| natural(path.as_str())), number)
    });
    order
}

fn rank(kind: Option<LayerKind>, path: Option<&FilePath>) -> u8 {
    let name = path.map_or("", FilePath::file_name);
    match kind {
        _ if name == "config.json" || name == "model_index.json" || name == "params.json" => 0,
        Some(LayerKind::WeightConfig) => 1,
        _ if name.ends_with(".index.json") => 1,
        Some(LayerKind::Code) => 2,
        Some(LayerKind::Weight) => 4,
        Some(LayerKind::Doc) => 5,
        Some(LayerKind::Dataset) => 6,
        None => 3,
    }
}

/// Sorts `model-2` before `model-10`: digits by their number.
fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let text = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let digits = rest[text..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |end| text + end);
        parts.push((rest[..text].to_owned(), rest[text..digits].parse().unwrap_or_default()));
        rest = &rest[digits..];
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_compared_as_numbers() {
        let mut names = ["model-10.bin", "model-2.bin", "model.bin", "a", "model-2-of-3.bin"];
        names.sort_by_cached_key(|name| natural(name));
        assert_eq!(names, ["a", "model-2-of-3.bin", "model-2.bin", "model-10.bin", "model.bin"]);
    }
}
