//! Scopes of tokens, in the format of the token authentication of registries: `repository:team/model:pull,push`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

type Resources = BTreeMap<String, BTreeSet<String>>;

/// What a token allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    /// Resources and actions that the request needs.
    needed: Resources,
    /// Resources and actions that would be useful, and those that the registry names in addition. A token service may refuse both together.
    optional: Resources,
    /// Scopes in a format of the registry's own, such as `aws`.
    opaque: BTreeSet<String>,
}

impl Scope {
    /// Actions on a repository, which is named without its host.
    pub(crate) fn repository(path: &str, actions: &[&str]) -> Self {
        let actions = actions.iter().map(|a| (*a).to_owned()).collect();
        Self { needed: BTreeMap::from([(format!("repository:{path}"), actions)]), ..Self::default() }
    }

    /// Parses the scopes in a challenge, which are separated by spaces. The name of a repository may contain a port, so a scope is parsed
    /// from its end. Scopes of other types are kept as they are.
    pub(crate) fn parse(text: &str) -> Self {
        let mut scope = Self::default();
        for one in text.split_whitespace() {
            match one.rsplit_once(':').filter(|(resource, _)| resource.starts_with("repository:")) {
                Some((resource, actions)) => {
                    let actions = actions.split(',').filter(|a| !a.is_empty()).map(str::to_owned);
                    scope.needed.entry(resource.to_owned()).or_default().extend(actions);
                }
                None => {
                    scope.opaque.insert(one.to_owned());
                }
            }
        }
        scope
    }

    /// Adds what would be useful.
    pub(crate) fn and_optional(mut self, other: Self) -> Self {
        unite(&mut self.optional, other.needed);
        self.without_needed_twice()
    }

    /// Adds what a registry names in its challenge. It is optional, if it is more than the request needs, unless the request needs nothing.
    pub(crate) fn and_named(mut self, named: Self) -> Self {
        let wanted = if self.needed.is_empty() { &mut self.needed } else { &mut self.optional };
        unite(wanted, named.needed);
        self.opaque.extend(named.opaque);
        self.without_needed_twice()
    }

    /// Removes from the optional actions those that are needed.
    fn without_needed_twice(mut self) -> Self {
        for (resource, needed) in &self.needed {
            if let Some(optional) = self.optional.get_mut(resource) {
                optional.retain(|action| !needed.contains(action));
            }
        }
        self.optional.retain(|_, actions| !actions.is_empty());
        self
    }

    /// The next smaller scope to request after a token service has refused this one: first without the other resources, then without the
    /// optional actions on the needed resources, then only the scopes in the registry's own format.
    pub(crate) fn narrower(&self) -> Option<Self> {
        let same: Resources = self.optional.clone().into_iter().filter(|(resource, _)| self.needed.contains_key(resource)).collect();
        if same != self.optional {
            Some(Self { optional: same, ..self.clone() })
        } else if !self.optional.is_empty() {
            Some(Self { optional: Resources::new(), ..self.clone() })
        } else if !self.opaque.is_empty() && !self.needed.is_empty() {
            Some(Self { needed: Resources::new(), ..self.clone() })
        } else {
            None
        }
    }

    /// Whether a token for this scope also covers another scope, including its optional parts.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let is_named = |resource: &String, action: &String| {
            [&self.needed, &self.optional].iter().any(|named| named.get(resource).is_some_and(|actions| actions.contains(action)))
        };
        self.subject() == other.subject()
            && [&other.needed, &other.optional]
                .into_iter()
                .flatten()
                .all(|(resource, actions)| actions.iter().all(|a| is_named(resource, a)))
            && self.opaque.is_superset(&other.opaque)
    }

    /// The repository of the request, without its host; empty if there is none.
    pub(crate) fn subject(&self) -> &str {
        self.needed.keys().find_map(|resource| resource.strip_prefix("repository:")).unwrap_or_default()
    }

    /// One string for each resource.
    pub(crate) fn resources(&self) -> impl Iterator<Item = String> {
        let mut all = self.needed.clone();
        unite(&mut all, self.optional.clone());
        let named = all.into_iter().map(|(resource, actions)| {
            let actions: Vec<String> = actions.into_iter().collect();
            format!("{resource}:{}", actions.join(","))
        });
        named.chain(self.opaque.iter().cloned())
    }
}

fn unite(resources: &mut Resources, others: Resources) {
    for (resource, actions) in others {
        resources.entry(resource).or_default().extend(actions);
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
    fn scopes_are_united_by_resource_and_what_is_opaque_is_kept_as_it_is() {
        let mine = Scope::repository("a/b", &["pull", "push"]);
        let theirs = Scope::parse("repository:a/b:delete,pull repository:c:pull registry:catalog:* aws repository:odd");
        let both = mine.and_named(theirs);
        assert_eq!(both.to_string(), "repository:a/b:delete,pull,push repository:c:pull aws registry:catalog:* repository:odd");
        assert_eq!(both.subject(), "a/b");
        assert_eq!(Scope::parse(&both.to_string()).to_string(), both.to_string());
        assert_eq!(Scope::parse(""), Scope::default());
    }

    #[test]
    fn a_scope_becomes_narrower_until_it_holds_what_is_needed() {
        let scope = Scope::repository("a/b", &["pull"]).and_optional(Scope::repository("c", &["pull"]));
        let narrower = scope.narrower().unwrap();
        assert_eq!((narrower.to_string(), narrower.narrower()), ("repository:a/b:pull".to_owned(), None));
        let named = scope.clone().and_named(Scope::parse("repository:d:pull aws"));
        let shown: Vec<_> = std::iter::successors(Some(named), Scope::narrower).map(|scope| scope.to_string()).collect();
        assert_eq!(shown, ["repository:a/b:pull repository:c:pull repository:d:pull aws", "repository:a/b:pull aws", "aws"]);
        let also_pushed = scope.and_optional(Scope::repository("a/b", &["push"]));
        let shown: Vec<_> = std::iter::successors(Some(also_pushed), Scope::narrower).map(|scope| scope.to_string()).collect();
        assert_eq!(shown, ["repository:a/b:pull,push repository:c:pull", "repository:a/b:pull,push", "repository:a/b:pull"]);
        assert_eq!(Scope::default().and_named(Scope::parse("repository:d:pull")).narrower(), None);

        let more_than_needed = Scope::repository("a/b", &["pull"]).and_named(Scope::parse("repository:a/b:pull,push"));
        assert_eq!(more_than_needed.to_string(), "repository:a/b:pull,push");
        assert_eq!(more_than_needed.narrower().unwrap().to_string(), "repository:a/b:pull");
        let just_needed = Scope::repository("a/b", &["pull"]).and_named(Scope::parse("repository:a/b:pull"));
        assert_eq!(just_needed.narrower(), None);
    }

    #[test]
    fn a_token_is_good_for_what_it_was_granted_for_and_for_less() {
        let (pull, push) = (Scope::repository("a/b", &["pull"]), Scope::repository("a/b", &["push"]));
        let both = pull.clone().and_optional(push.clone());
        assert!(both.covers(&push.clone().and_optional(pull.clone())), "which of them is needed does not matter");
        assert!(both.covers(&pull) && both.covers(&push) && !pull.covers(&both) && !pull.covers(&push));
        let other = Scope::repository("c", &["pull"]);
        assert!(!pull.clone().and_optional(other.clone()).covers(&other), "another repository may have another login");
        let named = pull.clone().and_named(Scope::parse("aws"));
        assert!(named.covers(&pull) && !pull.covers(&named));
    }
}
