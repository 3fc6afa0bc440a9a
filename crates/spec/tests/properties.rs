//! Properties of every config and every artifact.

use modelpack_spec::{
    Artifact, ArtifactBuilder, Config, ConfigBuilder, Content, Digest, Encoding, FileMetadata, FilePath, LayerInput, LayerKind, value,
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};

/// A text that a field without a grammar accepts.
fn text() -> impl Strategy<Value = String> {
    any::<String>().prop_filter("empty texts are refused", |text| !text.is_empty())
}

fn time() -> impl Strategy<Value = String> {
    (0..10_000, 1..=12, 1..=28, 0..24, 0..60, 0..60, select(vec!["Z", ".5Z", "+05:30", ".123456789-11:00"])).prop_map(
        |(year, month, day, hour, minute, second, rest)| format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{rest}"),
    )
}

fn modality() -> impl Strategy<Value = String> {
    select(value::MODALITIES.to_vec()).prop_map(str::to_owned)
}

fn licence() -> impl Strategy<Value = String> {
    let name = prop_oneof![select(vec!["MIT", "Apache-2.0", "GPL-2.0+"]).prop_map(str::to_owned), "LicenseRef-[a-zA-Z0-9.-]{1,8}"];
    vec(name, 1..4).prop_flat_map(|names| select(vec![" AND ", " OR "]).prop_map(move |operator| names.join(operator)))
}

fn digests() -> impl Strategy<Value = Vec<Digest>> {
    vec(any::<[u8; 4]>().prop_map(|bytes| Digest::of(&bytes)), 1..4)
}

/// Calls a setter if there is a value.
fn set<T>(builder: ConfigBuilder, value: Option<T>, setter: impl Fn(ConfigBuilder, T) -> ConfigBuilder) -> ConfigBuilder {
    match value {
        Some(value) => setter(builder, value),
        None => builder,
    }
}

fn builder() -> impl Strategy<Value = ConfigBuilder> {
    let texts = vec(option::of(text()), 11);
    let lists =
        (vec(text(), 0..3), vec(text(), 0..3), vec(licence(), 0..3), vec(modality(), 0..3), vec(modality(), 0..3), vec("[a-z]{2}", 0..3));
    let grammars = (
        option::of(time()),
        option::of(time()),
        option::of("[0-9]{1,4}(\\.[0-9])?[KMBTQkmbtq]"),
        option::of(proptest::sample::subsequence(value::PRECISIONS.to_vec(), 1..4)),
    );
    let flags = (any::<Option<bool>>(), any::<Option<bool>>(), any::<Option<bool>>());
    (texts, lists, grammars, flags).prop_map(|(texts, lists, grammars, flags)| {
        let mut b = ConfigBuilder::new();
        let setters: [fn(ConfigBuilder, String) -> ConfigBuilder; 11] = [
            |b, v| b.vendor(v),
            |b, v| b.family(v),
            |b, v| b.name(v),
            |b, v| b.version(v),
            |b, v| b.title(v),
            |b, v| b.description(v),
            |b, v| b.doc_url(v),
            |b, v| b.source_url(v),
            |b, v| b.revision(v),
            |b, v| b.architecture(v).quantization("awq"),
            |b, v| b.format(v),
        ];
        b = setters.into_iter().zip(texts).fold(b, |b, (setter, text)| set(b, text, setter));
        let (authors, datasets, licences, inputs, outputs, languages) = lists;
        b = authors.into_iter().fold(b, |b, v| b.author(v));
        b = datasets.into_iter().fold(b, |b, v| b.dataset_url(v));
        b = licences.into_iter().fold(b, |b, v| b.license(v));
        b = inputs.into_iter().fold(b, |b, v| b.input_type(v));
        b = outputs.into_iter().fold(b, |b, v| b.output_type(v));
        b = languages.into_iter().fold(b, |b, v| b.language(v));
        let (created_at, knowledge_cutoff, param_size, precision) = grammars;
        b = set(b, created_at, |b, v| b.created_at(v));
        b = set(b, knowledge_cutoff, |b, v| b.knowledge_cutoff(v));
        b = set(b, param_size, |b, v| b.param_size(v));
        b = set(b, precision, |b, v| b.precision(v.join(",")));
        b = set(b, flags.0, ConfigBuilder::reasoning);
        b = set(b, flags.1, ConfigBuilder::tool_usage);
        set(b, flags.2, ConfigBuilder::reward)
    })
}

/// Any JSON value whose numbers are integers.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((any::<String>(), inner), 0..4).prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>()))
        ]
    })
}

/// Objects with the field names of the specification and arbitrary values.
fn foreign_config() -> impl Strategy<Value = Value> {
    let field = |names: &[&'static str]| (select(names.to_vec()), any_json()).prop_map(|(name, value)| (name.to_owned(), value));
    let object = |names: &[&'static str]| vec(field(names), 0..6).prop_map(|fields| Value::Object(fields.into_iter().collect()));
    let descriptor = object(&["createdAt", "authors", "name", "datasetsURL", "licenses", "x"]);
    let capabilities = object(&["inputTypes", "knowledgeCutoff", "reasoning", "languages", "x"]);
    let config = (object(&["format", "paramSize", "precision", "capabilities", "x"]), option::of(capabilities));
    let modelfs = object(&["type", "diffIds", "x"]);
    (descriptor, config, modelfs, any_json()).prop_map(|(descriptor, (mut config, capabilities), modelfs, more)| {
        if let Some(capabilities) = capabilities {
            config["capabilities"] = capabilities;
        }
        json!({ "descriptor": descriptor, "config": config, "modelfs": modelfs, "more": more })
    })
}

fn read_back(config: &Config) -> Config {
    Config::parse(&config.to_bytes()).unwrap()
}

proptest! {
    #[test]
    fn a_built_config_reads_back_the_same(builder in builder(), diff_ids in digests()) {
        let config = builder.clone().build(diff_ids.clone()).unwrap();
        prop_assert_eq!(&read_back(&config), &config);
        prop_assert_eq!(config.to_bytes(), builder.clone().build(diff_ids.clone()).unwrap().to_bytes());
        prop_assert_eq!(ConfigBuilder::from(config.clone()).build(diff_ids).unwrap(), config, "a config that was read can be built again");
    }

    #[test]
    fn fields_that_the_specification_does_not_name_are_kept(
        builder in builder(),
        diff_ids in digests(),
        object in select(vec!["", "/descriptor", "/config", "/config/capabilities", "/modelfs"]),
        unknown in any_json(),
    ) {
        let config = builder.reasoning(true).build(diff_ids).unwrap();
        let mut json: Value = serde_json::from_slice(&config.to_bytes()).unwrap();
        json.pointer_mut(object).unwrap()["x-unknown"] = unknown.clone();
        let read = Config::parse(json.to_string().as_bytes()).unwrap();
        prop_assert_eq!(&read_back(&read), &read);
        let written: Value = serde_json::from_slice(&read.to_bytes()).unwrap();
        prop_assert_eq!(written, json);
    }

    #[test]
    fn any_foreign_config_is_read_and_reads_the_same_after_writing(json in foreign_config()) {
        let read = Config::parse(json.to_string().as_bytes()).unwrap();
        prop_assert_eq!(read.other.get("more"), json.get("more").cloned());
        prop_assert_eq!(read_back(&read), read);
    }

    #[test]
    fn a_builder_refuses_values_outside_the_grammar(
        text in prop_oneof![any::<String>(), "[0-9]{0,3}[.x]?[0-9]{0,2}[KMBTQkg]?", "(float16|int8|bf16|bool)(,(int8|bool))?", "[a-zA-Z]{1,3}", time()],
    ) {
        let diff_id = || [Digest::of(b"")];
        prop_assert_eq!(ConfigBuilder::new().param_size(&text).build(diff_id()).is_ok(), value::is_param_size(&text));
        prop_assert_eq!(ConfigBuilder::new().precision(&text).build(diff_id()).is_ok(), value::is_precision(&text));
        prop_assert_eq!(ConfigBuilder::new().created_at(&text).build(diff_id()).is_ok(), value::is_date_time(&text));
        prop_assert_eq!(ConfigBuilder::new().language(&text).build(diff_id()).is_ok(), value::is_language(&text));
    }

    #[test]
    fn a_built_artifact_reads_back_as_its_input(
        config in builder(),
        layers in vec((select(LayerKind::ALL.to_vec()), select(Encoding::ALL.to_vec()), "[a-c]{1,2}(/[a-c]{1,2}){0,2}", 0..=i64::MAX as u64, any::<bool>()), 1..8),
    ) {
        let layers: Vec<LayerInput> = layers.into_iter().map(|(kind, encoding, path, size, untested)| {
            let path: FilePath = path.parse().unwrap();
            let digest = Digest::of(path.as_str().as_bytes());
            let diff_id = matches!(encoding, Encoding::TarGzip | Encoding::TarZstd).then(|| Digest::of(b"tar"));
            let metadata = FileMetadata { name: path.file_name().to_owned(), size, mtime: "1970-01-01T00:00:00Z".to_owned(), ..FileMetadata::default() };
            LayerInput { kind, encoding, digest, diff_id, size, path: Some(path), metadata: Some(metadata), untested: Some(untested), hash_states: None }
        }).collect();
        let built = layers.iter().cloned().fold(ArtifactBuilder::new(config), ArtifactBuilder::layer).build();
        // Paths that clash are refused. Any other artifact reads back as its input.
        if let Ok(built) = built {
            let read = Artifact::read(built.manifest.image().unwrap()).unwrap();
            prop_assert_eq!(read.layers.len(), layers.len());
            prop_assert_eq!(built.config.modelfs.diff_ids.len(), layers.len());
            prop_assert_eq!(Config::parse(&built.config_bytes).unwrap(), built.config);
            for (written, read) in layers.iter().zip(&read.layers) {
                prop_assert_eq!(read.kind, Some(written.kind));
                prop_assert_eq!((&read.path, &read.metadata), (&written.path, &written.metadata));
                match &read.content {
                    Content::File(path) => prop_assert_eq!((Encoding::Raw, Some(path)), (written.encoding, written.path.as_ref())),
                    Content::Archive(encoding) => prop_assert_eq!(*encoding, written.encoding),
                    Content::Compressed(..) => prop_assert!(false, "no layer type of the specification is a compressed file"),
                    Content::Unnamed => prop_assert!(false, "every layer has a path"),
                }
            }
        } else {
            prop_assert!(layers.len() > 1, "a single layer cannot clash");
        }
    }
}
