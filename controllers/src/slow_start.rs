//! Many writes at once, of which the first ones are tried alone.

use futures::future::join_all;

use crate::framework::Error;

/// The most writes at once.
const BATCH_LARGEST: usize = 500;

/// Does `act` on all of `items` in batches that double, so that what cannot
/// be done is tried a few times and not hundreds.
/// # Errors
/// The first of a batch; the batches after it are left out.
pub(crate) async fn slow_start<T, F>(items: Vec<T>, act: impl Fn(T) -> F) -> Result<(), Error>
where
    F: Future<Output = Result<(), Error>>,
{
    let (mut items, mut size) = (items.into_iter(), 1);
    while items.len() > 0 {
        let batch: Vec<F> = items.by_ref().take(size).map(&act).collect();
        join_all(batch).await.into_iter().collect::<Result<(), Error>>()?;
        size = (size * 2).min(BATCH_LARGEST);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn what_fails_is_not_tried_often() {
        let tried = Cell::new(0);
        let act = |item: i32| {
            tried.set(tried.get() + 1);
            async move { if item < 3 { Ok(()) } else { Err(Error::Invalid("no".into())) } }
        };
        assert!(slow_start((0..100).collect(), act).await.is_err());
        assert_eq!(tried.get(), 1 + 2 + 4);
        tried.set(0);
        assert!(slow_start((0..3).collect(), act).await.is_ok());
        assert_eq!(tried.get(), 3);
    }
}
