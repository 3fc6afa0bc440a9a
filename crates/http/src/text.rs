//! What others say and where they are, as it may stand in a message.

use reqwest::Url;

/// How much of what somebody else says is repeated, in characters.
const MAX_MESSAGE_CHARACTERS: usize = 500;

/// The URL as an error shows it: without query and password, since those of object storage are signatures.
pub fn shown(url: &Url) -> String {
    printable(&format!("{}://{}{}", url.scheme(), host(url), url.path()))
}

/// Host and port.
pub(crate) fn host(url: &Url) -> &str {
    url.authority().rsplit_once('@').map_or(url.authority(), |(_, host)| host)
}

/// Text of somebody else that fits into a sentence: one line, without control characters, and of a long text the beginning.
pub fn printable(text: &str) -> String {
    printable_beginning(text, MAX_MESSAGE_CHARACTERS)
}

/// The same with another limit, in characters.
pub fn printable_beginning(text: &str, limit: usize) -> String {
    let mut shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(limit).collect();
    let left_out = text.chars().count().saturating_sub(limit);
    if left_out > 0 {
        shown.push_str(&format!("… ({left_out} more characters)"));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_url_has_no_secrets() {
        let url = Url::parse("https://user:pw@store.example.com:8443/blob?X-Signature=abc").unwrap();
        assert_eq!(shown(&url), "https://store.example.com:8443/blob");
    }

    #[test]
    fn what_a_server_says_cannot_steer_a_terminal() {
        assert_eq!(printable("a\x1b[31mb\r\nc"), "a [31mb  c");
        assert_eq!(printable(&"é".repeat(9999)), format!("{}… (9499 more characters)", "é".repeat(MAX_MESSAGE_CHARACTERS)));
        let long = Url::parse(&format!("http://h/{}", "x".repeat(9999))).unwrap();
        assert!(shown(&long).len() < 600 && shown(&long).starts_with("http://h/xx"), "{}", shown(&long));
    }
}
