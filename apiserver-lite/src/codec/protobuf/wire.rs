//! Protobuf's wire: tags, varints, lengths.

use super::ProtobufError;

/// Reads fields one after the other.
pub struct Reader<'a> {
    rest: &'a [u8],
}

/// The value of a field as the wire has it.
pub enum Wire<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

impl<'a> Reader<'a> {
    /// A reader of a message.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether all was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], ProtobufError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(ProtobufError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A varint.
    pub fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.take(1)?[0];
            if shift == 63 && byte > 1 {
                return Err(ProtobufError::Overflow);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ProtobufError::Overflow)
    }

    /// The next field's number and value; `None` at the end.
    pub fn field(&mut self) -> Result<Option<(u16, Wire<'a>)>, ProtobufError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number =
            u16::try_from(tag >> 3).ok().filter(|number| *number > 0).ok_or(ProtobufError::Tag(tag))?;
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().unwrap_or_default())),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| ProtobufError::Overflow)?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().unwrap_or_default())),
            _ => return Err(ProtobufError::Tag(tag)),
        };
        Ok(Some((number, wire)))
    }
}

impl<'a> Wire<'a> {
    fn kind(&self) -> u8 {
        match self {
            Self::Varint(_) => 0,
            Self::Fixed64(_) => 1,
            Self::Bytes(_) => 2,
            Self::Fixed32(_) => 5,
        }
    }

    pub(super) fn mismatch(&self, field: &str) -> ProtobufError {
        ProtobufError::WireType { kind: self.kind(), field: field.to_owned() }
    }

    /// A number.
    pub fn varint(&self, field: &str) -> Result<u64, ProtobufError> {
        match self {
            Self::Varint(value) => Ok(*value),
            _ => Err(self.mismatch(field)),
        }
    }

    /// Bytes, or a message.
    pub fn bytes(&self, field: &str) -> Result<&'a [u8], ProtobufError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(self.mismatch(field)),
        }
    }

    /// Text.
    pub fn text(&self, field: &str) -> Result<&'a str, ProtobufError> {
        std::str::from_utf8(self.bytes(field)?).map_err(|_| ProtobufError::Content(field.to_owned()))
    }
}
