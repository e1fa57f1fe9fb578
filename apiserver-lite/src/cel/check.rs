//! The types of an expression's parts, and what does not go together.

use super::{
    kind::{DURATION, Kind, TIMESTAMP},
    parse::{Node, What, dotted},
    scope::Scope,
};

/// Checks an expression: its type, and what is wrong, each with the character
/// that it is about.
pub fn check(node: &Node, scope: &Scope) -> (Kind, Vec<(usize, String)>) {
    let mut checker = Checker { scope, bound: Vec::new(), faults: Vec::new() };
    let kind = checker.kind(node);
    (kind, checker.faults)
}

struct Checker<'a> {
    scope: &'a Scope,
    // What macros bind, innermost last.
    bound: Vec<(String, Kind)>,
    faults: Vec<(usize, String)>,
}

// Names that are types.
const TYPES: &[&str] =
    &["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type", "dyn"];

impl Checker<'_> {
    // After a fault nothing is known.
    fn fault(&mut self, at: usize, text: String) -> Kind {
        self.faults.push((at, text));
        Kind::Unknown
    }

    fn undeclared(&mut self, at: usize, name: &str) -> Kind {
        self.fault(at, format!("undeclared reference to '{name}' (in container '')"))
    }

    fn kind(&mut self, node: &Node) -> Kind {
        match &node.what {
            What::Literal(kind) => kind.clone(),
            What::Name(name) => match self.named(name) {
                Some(kind) => kind,
                None => self.undeclared(node.at, name),
            },
            What::Field { of, name, optional } => self.field(node, of, name, *optional),
            What::Call { on, name, of } => self.call(node.at, on.as_deref(), name, of),
            What::List(items) => {
                let kinds: Vec<Kind> = items.iter().map(|it| self.kind(it)).collect();
                Kind::list(kinds.into_iter().reduce(Kind::common).unwrap_or(Kind::Dyn))
            }
            What::Map(entries) => {
                let kinds: Vec<(Kind, Kind)> =
                    entries.iter().map(|(key, value)| (self.kind(key), self.kind(value))).collect();
                let all = kinds.into_iter().reduce(|(a, x), (b, y)| (a.common(b), x.common(y)));
                let (key, value) = all.unwrap_or((Kind::Dyn, Kind::Dyn));
                Kind::map(key, value)
            }
            What::Made { kind, fields } => {
                for (_, value) in fields {
                    self.kind(value);
                }
                match self.scope.made(kind) {
                    Some(kind) => kind,
                    None => self.undeclared(node.at, kind),
                }
            }
        }
    }

    fn named(&self, name: &str) -> Option<Kind> {
        let bound = self.bound.iter().rfind(|(known, _)| known == name).map(|(_, kind)| kind.clone());
        bound.or_else(|| self.scope.variable(name)).or_else(|| TYPES.contains(&name).then_some(Kind::Type))
    }

    fn field(&mut self, node: &Node, of: &Node, name: &str, optional: bool) -> Kind {
        // A name with points may be declared as a whole.
        if let Some(kind) = dotted(node).and_then(|name| self.scope.variable(&name)) {
            return kind;
        }
        let kind = self.kind(of);
        let scalar = matches!(
            kind,
            Kind::Bool | Kind::Int | Kind::Uint | Kind::Double | Kind::String | Kind::Bytes | Kind::List(_)
        );
        if scalar && kind.is_known() {
            return self.fault(node.at, format!("type '{kind}' does not support field selection"));
        }
        match kind.field(name) {
            Some(_) if optional => Kind::Unknown,
            Some(kind) => kind,
            None => self.fault(node.at, format!("undefined field '{name}'")),
        }
    }

    fn call(&mut self, at: usize, on: Option<&Node>, name: &str, of: &[Node]) -> Kind {
        if let Some(kind) = self.expand(on, name, of) {
            return kind;
        }
        let on = on.map(|on| self.kind(on));
        let of: Vec<Kind> = of.iter().map(|it| self.kind(it)).collect();
        if name.contains('_') && !name.starts_with(|c: char| c.is_ascii_alphabetic()) || name == "@in" {
            return self.operate(at, name, &of);
        }
        if !self.scope.calls(name) {
            return self.undeclared(at, name);
        }
        result(name, on.as_ref(), &of)
    }

    fn operate(&mut self, at: usize, name: &str, of: &[Kind]) -> Kind {
        match operated(name, of) {
            Some(kind) => kind,
            None => {
                let shown: Vec<String> = of.iter().map(ToString::to_string).collect();
                let applied = shown.join(", ");
                self.fault(at, format!("found no matching overload for '{name}' applied to '({applied})'"))
            }
        }
    }

    // Macros, which bind names in what they are given.
    fn expand(&mut self, on: Option<&Node>, name: &str, of: &[Node]) -> Option<Kind> {
        match (on, name, of) {
            (None, "has", [field]) => {
                if let What::Field { of, name, .. } = &field.what {
                    self.field(field, of, name, false);
                }
                Some(Kind::Bool)
            }
            (
                Some(on),
                "all" | "exists" | "exists_one" | "existsOne" | "map" | "filter",
                [bound, .., last],
            ) if matches!(bound.what, What::Name(_)) => {
                let range = self.kind(on);
                let item = match &range {
                    Kind::List(item) => (**item).clone(),
                    Kind::Map(key, _) => (**key).clone(),
                    Kind::Dyn => Kind::Dyn,
                    Kind::Unknown | Kind::Opaque(_) | Kind::Object(_) | Kind::Variables(_) => Kind::Unknown,
                    other => {
                        let text = format!(
                            "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                        );
                        self.fault(on.at, text)
                    }
                };
                let names = of.iter().take(of.len() - 1).filter_map(|it| match &it.what {
                    What::Name(name) => Some(name.clone()),
                    _ => None,
                });
                let names: Vec<String> = names.collect();
                let two = names.len() > 1 && !["map", "filter"].contains(&name);
                let item = if two { Kind::Unknown } else { item };
                let depth = self.bound.len();
                let bind = if two { names.len() } else { 1 };
                self.bound.extend(names.into_iter().take(bind).map(|name| (name, item.clone())));
                // `map` may have a condition between.
                for middle in of.get(bind..of.len() - 1).unwrap_or_default() {
                    self.kind(middle);
                }
                let kind = self.kind(last);
                self.bound.truncate(depth);
                Some(match name {
                    "map" => Kind::list(kind),
                    "filter" => match range {
                        Kind::List(_) => range,
                        _ => Kind::Unknown,
                    },
                    _ => Kind::Bool,
                })
            }
            // What binds otherwise is not looked into.
            (
                Some(_),
                "transformList" | "transformMap" | "transformMapEntry" | "bind" | "sortBy" | "optMap"
                | "optFlatMap",
                _,
            ) => Some(Kind::Unknown),
            _ => None,
        }
    }
}

// What an operator makes of operands; `None` where it takes none such.
fn operated(name: &str, of: &[Kind]) -> Option<Kind> {
    use Kind::{Bool, Bytes, Double, Dyn, Int, String, Uint, Unknown};
    let same = |kinds: &[Kind]| match of {
        [a, b] if a.suits(b) => kinds.iter().find(|kind| a.suits(kind) && b.suits(kind)).map(|kind| {
            let open = |it: &Kind| matches!(it, Dyn | Unknown);
            if open(a) && open(b) {
                if *a == Unknown || *b == Unknown { Unknown } else { Dyn }
            } else {
                kind.clone()
            }
        }),
        _ => None,
    };
    let time = |it: &Kind| *it == Kind::Opaque(TIMESTAMP) || *it == Kind::Opaque(DURATION);
    let all_are = |kind: &Kind| of.iter().all(|it| it.suits(kind));
    match name {
        "_&&_" | "_||_" | "!_" => all_are(&Bool).then_some(Bool),
        "_==_" | "_!=_" => match of {
            [a, b] => (a.suits(b) || *a == Kind::Null || *b == Kind::Null).then_some(Bool),
            _ => None,
        },
        "_<_" | "_<=_" | "_>_" | "_>=_" => {
            let number = |it: &Kind| [Int, Uint, Double].iter().any(|kind| it.suits(kind));
            let fits = of.iter().all(number) || of.iter().all(time);
            (fits || same(&[Bool, String, Bytes]).is_some()).then_some(Bool)
        }
        // Times and spans go together in ways of their own.
        "_+_" | "_-_" if of.iter().any(time) => Some(Unknown),
        "_+_" => match of {
            [a @ Kind::List(_), b @ Kind::List(_)] => a.suits(b).then(|| a.clone()),
            [Kind::List(_), Dyn | Unknown] | [Dyn | Unknown, Kind::List(_)] => Some(Unknown),
            _ => same(&[Int, Uint, Double, String, Bytes]),
        },
        "_-_" | "_*_" | "_/_" => same(&[Int, Uint, Double]),
        "_%_" => same(&[Int, Uint]),
        "-_" => match of {
            [it @ (Int | Double | Dyn | Unknown)] => Some(it.clone()),
            [it] if time(it) => Some(it.clone()),
            _ => None,
        },
        "@in" => match of {
            [it, Kind::List(item)] => it.suits(item).then_some(Bool),
            [it, Kind::Map(key, _)] => it.suits(key).then_some(Bool),
            [_, Dyn | Unknown] => Some(Bool),
            _ => None,
        },
        "_[_]" | "_[?_]" => match of {
            [Kind::List(item), key] if [Int, Uint, Double].iter().any(|kind| key.suits(kind)) => {
                Some((**item).clone())
            }
            [Kind::Map(key, value), given] => given.suits(key).then(|| (**value).clone()),
            [Dyn, _] => Some(Dyn),
            [Unknown, _] => Some(Unknown),
            _ => None,
        },
        "_?_:_" => match of {
            [test, yes, no] if test.suits(&Bool) && yes.suits(no) => {
                Some(if yes == no { yes.clone() } else { yes.clone().common(no.clone()) })
            }
            _ => None,
        },
        _ => Some(Unknown),
    }
}

// What the functions that most expressions call give.
fn result(name: &str, on: Option<&Kind>, of: &[Kind]) -> Kind {
    match (name, on, of) {
        ("size" | "indexOf" | "lastIndexOf" | "int", ..) => Kind::Int,
        ("uint", ..) => Kind::Uint,
        ("double", ..) => Kind::Double,
        (
            "string" | "lowerAscii" | "upperAscii" | "replace" | "substring" | "trim" | "join" | "charAt",
            ..,
        ) => Kind::String,
        ("startsWith" | "endsWith" | "matches", ..) => Kind::Bool,
        ("contains", Some(Kind::String), _) => Kind::Bool,
        ("split", ..) => Kind::list(Kind::String),
        ("timestamp", ..) => Kind::Opaque(TIMESTAMP),
        ("duration", ..) => Kind::Opaque(DURATION),
        ("type", ..) => Kind::Unknown,
        ("dyn", ..) => Kind::Dyn,
        (
            "isQuantity" | "isURL" | "isIP" | "isCIDR" | "isSemver" | "isSorted" | "allowed" | "errored"
            | "isGreaterThan" | "isLessThan" | "exists",
            ..,
        ) => Kind::Bool,
        _ => Kind::Unknown,
    }
}
