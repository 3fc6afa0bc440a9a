//! Languages in the specification's form: two-letter codes of ISO 639.

/// ISO 639-1, set 1.
const CODES: &str = "aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en \
    eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk \
    kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om \
    or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt \
    tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu";

/// The codes of `tags` without duplicates. `pt-BR` becomes `pt`; tags without a two-letter code
/// (`code`, `multilingual`, `yue`) are left out.
pub(super) fn codes(tags: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut codes = Vec::new();
    for tag in tags {
        let code = tag.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase();
        if CODES.split(' ').any(|known| known == code) && !codes.contains(&code) {
            codes.push(code);
        }
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_existing_two_letter_codes_are_languages() {
        let tags = ["en", "pt-BR", "zh_Hant", "EN", "code", "multilingual", "yue", "xx", "", "english", "no"];
        assert_eq!(codes(tags.map(str::to_owned)), ["en", "pt", "zh", "no"]);
    }
}
