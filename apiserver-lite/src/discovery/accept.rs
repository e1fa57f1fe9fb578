//! `Accept` headers as the discovery endpoints read them: a media type, and the
//! parameters that ask for another kind of document.

/// One clause of an `Accept` header.
#[derive(Debug, PartialEq)]
pub struct Clause<'a> {
    kind: &'a str,
    subkind: &'a str,
    quality: f32,
    params: Vec<(&'a str, &'a str)>,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subkind) = match parts.next()? {
            "*" => ("*", "*"),
            name => name.split_once('/').filter(|(_, subkind)| !subkind.contains('/'))?,
        };
        let mut quality = 1.0;
        let mut params = Vec::new();
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            if name == "q" {
                quality = value.parse().unwrap_or(1.0);
            } else {
                params.push((name, value));
            }
        }
        Some(Self { kind, subkind, quality, params })
    }

    /// Whether it takes documents of that media type, `application/json`.
    pub fn takes(&self, media_type: &str) -> bool {
        let (kind, subkind) = media_type.split_once('/').unwrap_or((media_type, ""));
        (self.kind == "*" || self.kind == kind) && (self.subkind == "*" || self.subkind == subkind)
    }

    /// The value of a parameter.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params.iter().find(|(own, _)| *own == name).map(|(_, value)| *value)
    }

    /// Whether it asks for the answer as another kind of object.
    pub fn converts(&self) -> bool {
        ["as", "g", "v"].into_iter().any(|name| self.param(name).is_some())
    }
}

/// The clauses of a header, what the client likes best first.
pub fn clauses(header: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<_> = header.split(',').filter_map(Clause::parse).collect();
    clauses.sort_by(|a, b| {
        let wild = |clause: &Clause<'_>| (clause.kind == "*", clause.subkind == "*");
        b.quality.total_cmp(&a.quality).then(wild(a).cmp(&wild(b)))
    });
    clauses
}

#[cfg(test)]
mod tests {
    use super::clauses;

    fn check(header: &str, expected: &[(&str, &str)]) {
        let got: Vec<_> = clauses(header).iter().map(|it| (it.kind, it.subkind)).collect();
        assert_eq!(got, expected, "{header}");
    }

    #[test]
    fn clauses_come_in_the_clients_order() {
        check("", &[]);
        check("*", &[("*", "*")]);
        check("text", &[]);
        check("application/json, */*", &[("application", "json"), ("*", "*")]);
        check("*/*,application/yaml", &[("application", "yaml"), ("*", "*")]);
        check("a/b;q=0.5,c/d;q=0.9,e/f", &[("e", "f"), ("c", "d"), ("a", "b")]);
        check("a/b/c,d/e", &[("d", "e")]);
    }

    #[test]
    fn parameters_are_found() {
        let header = "application/json; g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;q=0.5";
        let clauses = clauses(header);
        assert!(clauses[0].takes("application/json") && !clauses[0].takes("application/yaml"));
        assert!(clauses[0].converts());
        assert_eq!((clauses[0].param("v"), clauses[0].param("q")), (Some("v2"), None));
    }
}
