//! The tokens of a label selector.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Error,
    End,
    Close,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    Greater,
    Identifier,
    In,
    Less,
    NotEquals,
    NotIn,
    Open,
}

impl Token {
    fn of(text: &str) -> Option<Self> {
        Some(match text {
            ")" => Self::Close,
            "," => Self::Comma,
            "!" => Self::Not,
            "==" => Self::DoubleEquals,
            "=" => Self::Equals,
            ">" => Self::Greater,
            "in" => Self::In,
            "<" => Self::Less,
            "!=" => Self::NotEquals,
            "notin" => Self::NotIn,
            "(" => Self::Open,
            _ => return None,
        })
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_symbol(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

/// The tokens of `text` with their spelling; the last one is `End`. A NUL ends
/// the text, as it does upstream.
pub(super) fn tokens(text: &str) -> Vec<(Token, String)> {
    let mut rest = text.split('\0').next().unwrap_or_default();
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches(is_space);
        let Some(first) = rest.chars().next() else {
            found.push((Token::End, String::new()));
            return found;
        };
        if is_symbol(first) {
            let (token, spelling, taken) = symbol(rest);
            found.push((token, spelling));
            rest = &rest[taken..];
        } else {
            let end = rest.find(|c| is_space(c) || is_symbol(c)).unwrap_or(rest.len());
            let word = &rest[..end];
            found.push((Token::of(word).unwrap_or(Token::Identifier), word.to_owned()));
            rest = &rest[end..];
        }
    }
}

// The longest run of symbols that is an operator. All symbols are one byte.
fn symbol(text: &str) -> (Token, String, usize) {
    let run = text.find(|c| !is_symbol(c)).unwrap_or(text.len());
    let mut longest = None;
    for end in 1..=run {
        match (Token::of(&text[..end]), longest) {
            (Some(token), _) => longest = Some((token, end)),
            (None, Some(_)) => break,
            (None, None) => {}
        }
    }
    match longest {
        Some((token, end)) => (token, text[..end].to_owned(), end),
        None => (Token::Error, format!("error expected: keyword found '{}'", &text[..run]), run),
    }
}
