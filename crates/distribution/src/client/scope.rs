//! What a token is good for, in the words of the token authentication that registries share: `repository:team/model:pull,push`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Resources, and the actions on each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Scope(BTreeMap<String, BTreeSet<String>>);

impl Scope {
    /// These actions on a repository, which is named without its host.
    pub(crate) fn repository(path: &str, actions: &[&str]) -> Self {
        Self(BTreeMap::from([(format!("repository:{path}"), actions.iter().map(|a| (*a).to_owned()).collect())]))
    }

    /// Reads what a challenge names: scopes separated by spaces. A resource contains colons, so each is read from its end.
    pub(crate) fn parse(text: &str) -> Self {
        let mut scope = Self::default();
        for (resource, actions) in text.split_whitespace().filter_map(|one| one.rsplit_once(':')) {
            let actions = actions.split(',').filter(|a| !a.is_empty()).map(str::to_owned);
            scope.0.entry(resource.to_owned()).or_default().extend(actions);
        }
        scope
    }

    /// Both together.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        for (resource, actions) in &other.0 {
            self.0.entry(resource.clone()).or_default().extend(actions.iter().cloned());
        }
        self
    }

    /// One text for each resource.
    pub(crate) fn resources(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(resource, actions)| {
            let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
            format!("{resource}:{}", actions.join(","))
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.resources().collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_united_by_resource() {
        let mine = Scope::repository("a/b", &["pull", "push"]);
        let theirs = Scope::parse("repository:a/b:delete,pull repository:c:pull registry:catalog:* nonsense");
        let both = mine.and(&theirs);
        assert_eq!(both.to_string(), "registry:catalog:* repository:a/b:delete,pull,push repository:c:pull");
        assert_eq!(Scope::parse(&both.to_string()), both);
        assert_eq!(Scope::parse(""), Scope::default());
    }
}
