//! Which controllers run: upstream's `--controllers` syntax.

/// A parsed list such as `*,-job-controller`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    items: Vec<String>,
}

/// A list that names no controller that is known.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{0}\" is not in the list of known controllers")]
pub struct UnknownController(String);

impl Selection {
    /// All that are on by default.
    pub fn all() -> Self {
        Self { items: vec!["*".into()] }
    }

    /// Reads a list: `*` is every controller that is on by default, `name`
    /// turns one on and `-name` turns it off. The first mention wins.
    /// # Errors
    /// A name that is not among `known`.
    pub fn parse<'a>(
        text: &str,
        known: impl IntoIterator<Item = &'a str> + Clone,
    ) -> Result<Self, UnknownController> {
        let items: Vec<String> =
            text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect();
        for item in items.iter().filter(|item| *item != "*") {
            let name = item.strip_prefix('-').unwrap_or(item);
            if !known.clone().into_iter().any(|k| k == name) {
                return Err(UnknownController(name.to_owned()));
            }
        }
        Ok(Self { items })
    }

    /// True when the controller called `name` runs.
    pub fn includes(&self, name: &str) -> bool {
        for item in &self.items {
            if item == name {
                return true;
            }
            if item.strip_prefix('-') == Some(name) {
                return false;
            }
        }
        self.items.iter().any(|item| item == "*")
    }
}

impl Default for Selection {
    fn default() -> Self {
        Self::all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selection() {
        let known = ["a", "b"];
        let check = |text: &str, expected: [bool; 2]| {
            let selection = Selection::parse(text, known).unwrap();
            assert_eq!([selection.includes("a"), selection.includes("b")], expected, "{text}");
        };
        check("*", [true, true]);
        check("*,-a", [false, true]);
        check("-a,*", [false, true]);
        check("b", [false, true]);
        check("a,-a", [true, false]);
        check("", [false, false]);
        check(" * , -b ", [true, false]);
        assert_eq!(Selection::parse("*,-c", known), Err(UnknownController("c".into())));
    }
}
