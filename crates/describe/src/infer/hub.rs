//! Model names on a hub, `organisation/name`, and URLs that may be published.

/// Whether `text` can be the name of a model on a hub, and is not a local path, which is
/// meaningless elsewhere.
pub(super) fn is_id(text: &str) -> bool {
    let mut parts = text.split('/');
    let is_part = |part: &str| {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        (1..=96).contains(&part.len()) && part.chars().all(is_name) && part.starts_with(|c: char| c.is_ascii_alphanumeric())
    };
    parts.next().is_some_and(is_part) && parts.next().is_none_or(is_part) && parts.next().is_none()
}

/// The hub names among `texts`, joined.
pub(super) fn ids<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let ids: Vec<&str> = texts.into_iter().filter(|text| is_id(text)).take(16).collect();
    (!ids.is_empty()).then(|| ids.join(","))
}

/// The name of a model on the Hugging Face hub, from its URL.
pub(super) fn id_of_url(url: &str) -> Option<&str> {
    let id = ["https://huggingface.co/", "https://hf.co/"].into_iter().find_map(|hub| url.strip_prefix(hub))?;
    Some(id.trim_end_matches('/')).filter(|id| id.contains('/') && is_id(id))
}

/// A URL that may be published: without user name, secret and query.
pub fn public_url(url: &str) -> Option<String> {
    let (scheme, rest) = url.trim().split_once("://")?;
    if !matches!(scheme, "https" | "http") || rest.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return None;
    }
    let rest = &rest[..rest.find(['?', '#']).unwrap_or(rest.len())];
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    (!host.is_empty()).then(|| format!("{scheme}://{host}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_names_are_distinguished_from_paths() {
        for id in ["gpt2", "org/name", "meta-llama/Llama-3.1-8B_x"] {
            assert!(is_id(id), "{id}");
        }
        for path in ["", "/data/x", "./x", "../x", "a/b/c", "~/x", "C:\\x", "a/", "/", "a b/c", ".hidden/x", "a//b"] {
            assert!(!is_id(path), "{path}");
        }
        assert_eq!(id_of_url("https://huggingface.co/org/name"), Some("org/name"));
        assert_eq!(id_of_url("https://huggingface.co/org"), None);
        assert_eq!(id_of_url("https://example.com/org/name"), None);
    }

    #[test]
    fn urls_are_published_without_secrets() {
        for (url, expected) in [
            ("https://example.com/a/b", Some("https://example.com/a/b")),
            ("https://user:secret@example.com/a", Some("https://example.com/a")),
            ("https://token@example.com", Some("https://example.com")),
            ("https://example.com/a?token=x#y", Some("https://example.com/a")),
            ("https://a@b@example.com/c@d", Some("https://example.com/c@d")),
            ("https://", None),
            ("https://user@/x", None),
            ("file:///home/me", None),
            ("javascript:x", None),
            ("https://exa mple.com", None),
        ] {
            assert_eq!(public_url(url).as_deref(), expected, "{url}");
        }
    }
}
