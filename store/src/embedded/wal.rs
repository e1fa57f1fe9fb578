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
        if is_last(frame) {
            sound = good;
        }
    }
    let rest = frames.get(good..).unwrap_or_default();
    if !relaxed && format.continues(sum, rest) {
        return Wal::Damaged { offset: (HEADER + good * frame_len) as u64 };
    }
    // Frames of an earlier round are left over, not dropped.
    let ours = rest.iter().rposition(|frame| format.is_ours(frame)).map_or(0, |last| last + 1);
    // The sum does not cover the salts: they may be what is damaged.
    let fits = |frame: &&[u8]| format.sum_after(sum, frame) == stored_sum(frame);
    let ours = ours.max(usize::from(rest.first().is_some_and(fits)));
    let ours = rest.iter().take(ours).map(|frame| frame.len()).sum::<usize>();
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
        let sum = self.sum_after(sum, frame)?;
        (self.is_ours(frame) && sum == stored_sum(frame)?).then_some(sum)
    }

    fn sum_after(&self, sum: Sum, frame: &[u8]) -> Option<Sum> {
        Some(self.add(self.add(sum, frame.get(..8)?), frame.get(FRAME_HEADER..)?))
    }

    // Whether after a damaged frame, and after the transaction that it is of,
    // there are frames that were written as a continuation: by then that
    // transaction was safe. `sum` is that before the damaged frame.
    fn continues(&self, sum: Sum, rest: &[&[u8]]) -> bool {
        // Where the stored sum is what is damaged, the frame has its own still.
        let mut own = rest.first().map(|frame| self.sum_after(sum, frame));
        let mut finished = false;
        for pair in rest.windows(2) {
            let [before, frame] = pair else { return false };
            let follows = stored_sum(before).is_some_and(|sum| self.follows(sum, frame).is_some())
                || own.take().flatten().is_some_and(|sum| self.follows(sum, frame).is_some());
            finished |= is_last(before) && (follows || self.is_ours(before));
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

// Whether a frame is the last of its transaction.
fn is_last(frame: &[u8]) -> bool {
    word(frame, 4).is_some_and(|pages| pages != 0)
}

fn stored_sum(frame: &[u8]) -> Option<Sum> {
    Some((word(frame, 16)?, word(frame, 20)?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 512;
    const LEN: usize = FRAME_HEADER + PAGE;

    /// A WAL with transactions of so many frames, as SQLite writes them.
    fn wal(salt: u8, transactions: &[usize]) -> Vec<u8> {
        let mut format = Format { page: PAGE, big_endian: false, salt: [salt; 8], sum: (0, 0) };
        let mut wal = Vec::new();
        for word in [0x377f_0682_u32, 3_007_000, PAGE as u32, 0] {
            wal.extend(word.to_be_bytes());
        }
        wal.extend(format.salt);
        format.sum = format.add((0, 0), &wal);
        let mut sum = format.sum;
        wal.extend([sum.0.to_be_bytes(), sum.1.to_be_bytes()].concat());
        for frames in transactions {
            for frame in 1..=*frames {
                let page = (wal.len() as u32).to_be_bytes();
                let pages = if frame == *frames { 9_u32 } else { 0 }.to_be_bytes();
                let data = [wal.len() as u8; PAGE];
                sum = format.add(format.add(sum, &[page, pages].concat()), &data);
                wal.extend([page, pages].concat());
                wal.extend(format.salt);
                wal.extend([sum.0.to_be_bytes(), sum.1.to_be_bytes()].concat());
                wal.extend(data);
            }
        }
        wal
    }

    fn zero(mut wal: Vec<u8>, frames: std::ops::Range<usize>) -> Vec<u8> {
        wal[HEADER + frames.start * LEN..HEADER + frames.end * LEN].fill(0);
        wal
    }

    #[test]
    fn whole_unfinished_and_damaged() {
        let frames = |n: usize| (HEADER + n * LEN) as u64;
        let sound = |whole, dropped| Wal::Sound { len: frames(whole), dropped: (dropped * LEN) as u64 };
        let damaged = |frame| Wal::Damaged { offset: frames(frame) };
        let check = |what: &str, wal: &[u8], durable: Wal, relaxed: Wal| {
            assert_eq!(inspect(wal, false), durable, "{what}");
            assert_eq!(inspect(wal, true), relaxed, "{what}, relaxed");
        };
        let same = |what: &str, wal: &[u8], expected: Wal| check(what, wal, expected, expected);

        same("empty", &[], Wal::Sound { len: 0, dropped: 0 });
        same("half a header", &wal(1, &[])[..20], Wal::Sound { len: 0, dropped: 20 });
        same("a header", &wal(1, &[]), sound(0, 0));
        same("no header and no frames", &[0; 2000], Wal::Sound { len: 0, dropped: 2000 });
        let mut headless = wal(1, &[1]);
        headless[3] ^= 1;
        same("frames without a header", &headless, Wal::Damaged { offset: 0 });

        let whole = wal(1, &[2, 1, 3]);
        same("whole", &whole, sound(6, 0));
        same("unfinished", &whole[..whole.len() - LEN], sound(3, 2));
        same("the last begun", &zero(whole.clone(), 3..4), sound(3, 3));
        same("the last half there", &zero(whole.clone(), 4..5), sound(3, 3));
        same("the last not ended", &zero(whole.clone(), 5..6), sound(3, 2));
        check("the first", &zero(whole.clone(), 0..1), damaged(0), sound(0, 6));
        // Without its end a transaction looks like a part of the next one. If
        // that is the last, it may be the one that the crash cut off.
        same("the second", &zero(whole.clone(), 2..3), sound(2, 4));
        let longer = wal(1, &[2, 1, 3, 1]);
        check("the second of four", &zero(longer.clone(), 2..3), damaged(2), sound(2, 5));
        check("two of four", &zero(longer, 1..4), damaged(1), sound(0, 7));

        // A round that was shorter than the one before it.
        let mut second = wal(2, &[1]);
        second.extend_from_slice(&whole[second.len()..]);
        same("a second round", &second, sound(1, 0));
        let mut torn = wal(2, &[1, 2])[..HEADER + 2 * LEN].to_vec();
        torn.extend_from_slice(&whole[torn.len()..]);
        same("a second round, unfinished", &torn, sound(1, 1));
    }
}
