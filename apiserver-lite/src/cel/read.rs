//! An expression's text as tokens, each with where it stands.

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// A name.
    Name(String),
    /// Text between quotes; of bytes or not.
    Text(bool),
    /// A whole number; with `u` or not.
    Whole(bool),
    /// A number with a point or an exponent.
    Real,
    /// An operator or bracket.
    Sign(&'static str),
}

// Longer ones first.
const SIGNS: &[&str] = &[
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",", "(", ")",
    "[", "]", "{", "}",
];

/// The tokens, with the character that each begins at; `None` where there is something else.
pub fn tokens(text: &str) -> Option<Vec<(usize, Token)>> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = chars.get(at).copied() {
        if first.is_whitespace() {
            at += 1;
            continue;
        }
        let rest = chars.get(at..).unwrap_or_default();
        if rest.starts_with(&['/', '/']) {
            at += rest.iter().take_while(|c| **c != '\n').count();
            continue;
        }
        let (token, length) =
            quoted(rest).or_else(|| number(rest)).or_else(|| name(rest)).or_else(|| sign(rest))?;
        tokens.push((at, token));
        at += length;
    }
    Some(tokens)
}

fn quoted(rest: &[char]) -> Option<(Token, usize)> {
    let prefix = rest.iter().take(2).take_while(|c| "rRbB".contains(**c)).count();
    let (marks, body) = rest.split_at(prefix);
    let quote = body.first().copied().filter(|c| "'\"".contains(*c))?;
    let raw = marks.iter().any(|c| "rR".contains(*c));
    let triple = body.iter().take(3).filter(|c| **c == quote).count() == 3;
    let width = if triple { 3 } else { 1 };
    let mut at = width;
    while at < body.len() {
        let ends = body.get(at..at + width).is_some_and(|part| part.iter().all(|c| *c == quote));
        if ends {
            let bytes = marks.iter().any(|c| "bB".contains(*c));
            return Some((Token::Text(bytes), prefix + at + width));
        }
        at += if body.get(at) == Some(&'\\') && !raw { 2 } else { 1 };
    }
    None
}

fn number(rest: &[char]) -> Option<(Token, usize)> {
    let digits = |from: usize| rest.iter().skip(from).take_while(|c| c.is_ascii_digit()).count();
    let whole = digits(0);
    let point = rest.get(whole) == Some(&'.') && digits(whole + 1) > 0;
    if whole == 0 && !point {
        return None;
    }
    if rest.starts_with(&['0', 'x']) {
        let length = 2 + rest.iter().skip(2).take_while(|c| c.is_ascii_hexdigit()).count();
        let unsigned = rest.get(length).is_some_and(|c| "uU".contains(*c));
        return Some((Token::Whole(unsigned), length + usize::from(unsigned)));
    }
    let mut length = whole;
    let mut real = false;
    if point {
        length += 1 + digits(whole + 1);
        real = true;
    }
    if rest.get(length).is_some_and(|c| "eE".contains(*c)) {
        let signed = rest.get(length + 1).is_some_and(|c| "+-".contains(*c));
        let from = length + 1 + usize::from(signed);
        if digits(from) > 0 {
            length = from + digits(from);
            real = true;
        }
    }
    if real {
        return Some((Token::Real, length));
    }
    let unsigned = rest.get(length).is_some_and(|c| "uU".contains(*c));
    Some((Token::Whole(unsigned), length + usize::from(unsigned)))
}

fn name(rest: &[char]) -> Option<(Token, usize)> {
    if rest.first() == Some(&'`') {
        let length = rest.iter().skip(1).position(|c| *c == '`')? + 2;
        let name = rest.get(1..length - 1)?.iter().collect();
        return Some((Token::Name(name), length));
    }
    rest.first().filter(|c| c.is_ascii_alphabetic() || **c == '_')?;
    let name: String = rest.iter().take_while(|c| c.is_ascii_alphanumeric() || **c == '_').collect();
    let length = name.len();
    Some((Token::Name(name), length))
}

fn sign(rest: &[char]) -> Option<(Token, usize)> {
    let found = SIGNS.iter().find(|sign| sign.chars().enumerate().all(|(at, c)| rest.get(at) == Some(&c)))?;
    Some((Token::Sign(found), found.len()))
}
