//! Reads JSON byte by byte, refusing what Go's `encoding/json` refuses with
//! its texts and mending what Go mends: bytes that are not UTF-8 and lone
//! surrogates become U+FFFD.

use std::borrow::Cow;

use coracle_api::field::go_quote;

/// Go refuses deeper nesting.
const MAX_DEPTH: usize = 10_000;

/// We refuse deeper nesting where the tree is kept: trees are walked, and
/// dropped, by recursion.
const MAX_TREE_DEPTH: usize = 512;

/// Bad JSON, in Go's words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Syntax(pub String);

/// What a value begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    String,
    Number,
    Bool,
    Null,
}

impl Kind {
    /// Go's word for it in type errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Number => "number",
            Self::Bool => "bool",
            Self::Null => "null",
        }
    }
}

pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

/// The body as text: each byte that is not part of valid UTF-8 is U+FFFD.
pub(super) fn text_of(body: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(body) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => {
            let mut out = String::with_capacity(body.len() + 16);
            for chunk in body.utf8_chunks() {
                out.push_str(chunk.valid());
                chunk.invalid().iter().for_each(|_| out.push('\u{fffd}'));
            }
            Cow::Owned(out)
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

impl<'a> Reader<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) -> Option<u8> {
        while let Some(byte) = self.byte() {
            if !is_space(byte) {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    // The error at the byte where we stand.
    fn fault<T>(&self, context: &str) -> Result<T, Syntax> {
        Err(Syntax(match self.byte() {
            None => "unexpected end of JSON input".to_owned(),
            // Go shows the byte as if it were a character of Latin 1.
            Some(b'\'') => format!("invalid character '\\'' {context}"),
            Some(b'"') => format!("invalid character '\"' {context}"),
            Some(byte) => {
                let quoted = go_quote(&char::from(byte).to_string());
                format!("invalid character '{}' {context}", &quoted[1..quoted.len() - 1])
            }
        }))
    }

    /// What the next value begins with.
    pub fn peek(&mut self) -> Result<Kind, Syntax> {
        match self.skip_space() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            _ => self.fault("looking for beginning of value"),
        }
    }

    fn open(&mut self, most: usize) -> Result<(), Syntax> {
        self.depth += 1;
        if self.depth > most {
            return self.fault("exceeded max depth");
        }
        self.at += 1;
        Ok(())
    }

    /// Goes into the object or array that begins here.
    pub fn enter(&mut self) -> Result<(), Syntax> {
        self.open(MAX_TREE_DEPTH)
    }

    /// The next key of the object that we are in, up to its value; `None` when
    /// the object ended.
    pub fn key(&mut self, first: bool) -> Result<Option<Cow<'a, str>>, Syntax> {
        match self.skip_space() {
            Some(b'}') => {
                self.at += 1;
                self.depth -= 1;
                return Ok(None);
            }
            Some(b',') if !first => {
                self.at += 1;
                self.skip_space();
            }
            _ if !first => return self.fault("after object key:value pair"),
            _ => {}
        }
        if self.byte() != Some(b'"') {
            return self.fault("looking for beginning of object key string");
        }
        let key = self.string()?;
        if self.skip_space() != Some(b':') {
            return self.fault("after object key");
        }
        self.at += 1;
        Ok(Some(key))
    }

    /// Whether the array that we are in has another element, up to it.
    pub fn element(&mut self, first: bool) -> Result<bool, Syntax> {
        match self.skip_space() {
            Some(b']') => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            Some(b',') if !first => {
                self.at += 1;
                Ok(true)
            }
            _ if !first => self.fault("after array element"),
            _ => Ok(true),
        }
    }

    /// The string that begins here.
    pub fn string(&mut self) -> Result<Cow<'a, str>, Syntax> {
        let start = self.at + 1;
        let end = self.plain(start)?;
        self.at = end;
        if self.byte() == Some(b'"') {
            self.at += 1;
            return Ok(Cow::Borrowed(self.slice(start, end)));
        }
        let mut out = String::with_capacity(end - start + 32);
        out.push_str(self.slice(start, end));
        loop {
            if self.byte() == Some(b'"') {
                self.at += 1;
                return Ok(Cow::Owned(out));
            }
            self.at += 1;
            self.escape(&mut out)?;
            let start = self.at;
            self.at = self.plain(start)?;
            out.push_str(self.slice(start, self.at));
        }
    }

    // Where the run of characters from `start` on ends that stand for
    // themselves: at a quote or a backslash.
    fn plain(&mut self, start: usize) -> Result<usize, Syntax> {
        let bytes = self.text.as_bytes().get(start..).unwrap_or_default();
        let found = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
        let end = start + found.unwrap_or(bytes.len());
        match self.text.as_bytes().get(end) {
            Some(b'"' | b'\\') => Ok(end),
            _ => {
                self.at = end;
                self.fault("in string literal")
            }
        }
    }

    // The ends of runs are ASCII or the end of the text.
    fn slice(&self, start: usize, end: usize) -> &'a str {
        self.text.get(start..end).unwrap_or_default()
    }

    // The escape whose backslash was read.
    fn escape(&mut self, out: &mut String) -> Result<(), Syntax> {
        let c = match self.byte() {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(out),
            _ => return self.fault("in string escape code"),
        };
        self.at += 1;
        out.push(c);
        Ok(())
    }

    fn unicode(&mut self, out: &mut String) -> Result<(), Syntax> {
        self.at += 1;
        let high = self.hex()?;
        if let Some(c) = char::from_u32(high) {
            out.push(c);
            return Ok(());
        }
        let mark = self.at;
        if high < 0xdc00 && self.text.as_bytes()[mark..].starts_with(b"\\u") {
            self.at += 2;
            let low = self.hex()?;
            if (0xdc00..0xe000).contains(&low) {
                let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                out.push(char::from_u32(code).unwrap_or('\u{fffd}'));
                return Ok(());
            }
            self.at = mark;
        }
        out.push('\u{fffd}');
        Ok(())
    }

    fn hex(&mut self) -> Result<u32, Syntax> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.byte().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return self.fault("in \\u hexadecimal character escape");
            };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }

    fn digits(&mut self, context: &str) -> Result<(), Syntax> {
        let start = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { self.fault(context) } else { Ok(()) }
    }

    /// The text of the number that begins here.
    pub fn number(&mut self) -> Result<&'a str, Syntax> {
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        if self.byte() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits("in numeric literal")?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(self.slice(start, self.at))
    }

    fn word(&mut self, word: &str) -> Result<(), Syntax> {
        for expected in word.bytes() {
            if self.byte() != Some(expected) {
                let expected = char::from(expected);
                return self.fault(&format!("in literal {word} (expecting '{expected}')"));
            }
            self.at += 1;
        }
        Ok(())
    }

    /// The `true` or `false` that begins here.
    pub fn bool(&mut self) -> Result<bool, Syntax> {
        let value = self.byte() == Some(b't');
        self.word(if value { "true" } else { "false" })?;
        Ok(value)
    }

    /// The `null` that begins here.
    pub fn null(&mut self) -> Result<(), Syntax> {
        self.word("null")
    }

    /// Reads over the value that comes next, however deep it is, and gives its
    /// text.
    pub fn skip(&mut self) -> Result<&'a str, Syntax> {
        self.peek()?;
        let start = self.at;
        // For each container that is open: whether it is an object.
        let mut within: Vec<bool> = Vec::new();
        loop {
            match self.peek()? {
                kind @ (Kind::Object | Kind::Array) => {
                    self.open(MAX_DEPTH)?;
                    within.push(kind == Kind::Object);
                    if self.goes_on(&mut within, true)? {
                        continue;
                    }
                }
                Kind::String => drop(self.string()?),
                Kind::Number => drop(self.number()?),
                Kind::Bool => drop(self.bool()?),
                Kind::Null => self.null()?,
            }
            while !within.is_empty() {
                if self.goes_on(&mut within, false)? {
                    break;
                }
            }
            if within.is_empty() {
                return Ok(self.slice(start, self.at));
            }
        }
    }

    // Whether the innermost container has another value; it is left if not.
    fn goes_on(&mut self, within: &mut Vec<bool>, first: bool) -> Result<bool, Syntax> {
        let more = match within.last() {
            Some(true) => self.key(first)?.is_some(),
            Some(false) => self.element(first)?,
            None => false,
        };
        if !more {
            within.pop();
        }
        Ok(more)
    }

    /// Checks that nothing follows.
    pub fn end(&mut self) -> Result<(), Syntax> {
        match self.skip_space() {
            None => Ok(()),
            Some(_) => self.fault("after top-level value"),
        }
    }
}
