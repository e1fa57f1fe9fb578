//! Reads SQLite's WAL before SQLite does. SQLite takes what it finds up to the
//! first frame that is not as it was written and passes over the rest in
//! silence; here the rest is told from the end of a write that a crash cut
//! off, and from damage to what was safe already.
//!
//! The format is that of <https://www.sqlite.org/fileformat2.html#walformat>.

/// What a WAL holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wal {
    /// Whole transactions in its first `len` bytes, then `dropped` bytes of
    /// one that was never finished.
    Sound { len: u64, dropped: u64 },
    /// The frame at this offset is damaged, and transactions follow that were
    /// written after it was safe.
    Damaged { offset: u64 },
}

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// Looks through a WAL. With `relaxed` it was written without waiting for the
/// disk: then a later transaction says nothing of an earlier one.
pub(crate) fn inspect(wal: &[u8], relaxed: bool) -> Wal {
    let Some((header, body)) = wal.split_at_checked(HEADER) else {
        return Wal::Sound { len: 0, dropped: wal.len() as u64 };
    };
    let Some(format) = Format::read(header) else {
        // The header is on disk before the first frame is written.
        return if body.iter().all(|byte| *byte == 0) {
            Wal::Sound { len: 0, dropped: wal.len() as u64 }
        } else {
            Wal::Damaged { offset: 0 }
        };
    };
    let frame_len = FRAME_HEADER + format.page;
    let frames: Vec<&[u8]> = body.chunks(frame_len).collect();
    let mut sum = format.sum;
    let mut good = 0;
    let mut sound = 0;
    for frame in frames.iter().take_while(|frame| frame.len() == frame_len) {
        match format.follows(sum, frame) {
            Some(next) => sum = next,
            None => break,
        }
        good += 1;
        if format.commits(frame) {
            sound = good;
        }
    }
    let rest = frames.get(good..).unwrap_or_default();
    if !relaxed && format.continues(rest) {
        return Wal::Damaged { offset: (HEADER + good * frame_len) as u64 };
    }
    // Frames of an earlier round are left over, not dropped.
    let ours = rest.iter().take_while(|frame| format.is_ours(frame)).map(|frame| frame.len()).sum::<usize>();
    let dropped = ((good - sound) * frame_len + ours) as u64;
    Wal::Sound { len: (HEADER + sound * frame_len) as u64, dropped }
}

type Sum = (u32, u32);

struct Format {
    page: usize,
    big_endian: bool,
    salt: [u8; 8],
    sum: Sum,
}

impl Format {
    // `None` if the header is not sound.
    fn read(header: &[u8]) -> Option<Self> {
        let big_endian = match word(header, 0)? {
            0x377f_0682 => false,
            0x377f_0683 => true,
            _ => return None,
        };
        let page = usize::try_from(word(header, 8)?).ok()?;
        let salt = header.get(16..24)?.try_into().ok()?;
        let format = Self { page, big_endian, salt, sum: (word(header, 24)?, word(header, 28)?) };
        let sound = format.add((0, 0), header.get(..24)?) == format.sum;
        (sound && page.is_power_of_two() && (512..=65536).contains(&page)).then_some(format)
    }

    // The sum after `frame` if it is the one that follows `sum`.
    fn follows(&self, sum: Sum, frame: &[u8]) -> Option<Sum> {
        let sum = self.add(self.add(sum, frame.get(..8)?), frame.get(FRAME_HEADER..)?);
        (self.is_ours(frame) && sum == stored_sum(frame)?).then_some(sum)
    }

    // Whether after a damaged frame, and after the transaction that it may be
    // of, there are frames that were written as a continuation: by then that
    // transaction was safe.
    fn continues(&self, rest: &[&[u8]]) -> bool {
        let mut finished = false;
        for pair in rest.windows(2) {
            let [before, frame] = pair else { return false };
            finished |= self.commits(before);
            let follows = stored_sum(before).is_some_and(|sum| self.follows(sum, frame).is_some());
            if finished && follows {
                return true;
            }
        }
        false
    }

    fn is_ours(&self, frame: &[u8]) -> bool {
        match frame.get(8..16) {
            Some(salt) => salt == self.salt,
            // Cut off before one could tell.
            None => true,
        }
    }

    fn commits(&self, frame: &[u8]) -> bool {
        self.is_ours(frame) && word(frame, 4).is_some_and(|pages| pages != 0)
    }

    fn add(&self, (mut a, mut b): Sum, bytes: &[u8]) -> Sum {
        let word = |bytes: &[u8]| {
            let bytes = bytes.try_into().unwrap_or_default();
            if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        for pair in bytes.chunks_exact(8) {
            let (first, second) = pair.split_at(4);
            a = a.wrapping_add(word(first)).wrapping_add(b);
            b = b.wrapping_add(word(second)).wrapping_add(a);
        }
        (a, b)
    }
}

fn stored_sum(frame: &[u8]) -> Option<Sum> {
    Some((word(frame, 16)?, word(frame, 20)?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
