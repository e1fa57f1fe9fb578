//! Reading: records and pages of records, as the store has them.

use std::sync::Arc;

use coracle_store::{Page as Range, Range as Query, Record, Revision, StoreError};

use super::{Registry, Target, options::ListOptions, page::Page};
use crate::{
    error::{ApiError, Subject},
    watch::Filter,
};

const EXPIRED_PAGE: &str = "The provided continue parameter is too old to display a consistent list result. \
     You can start a new list without the continue parameter, or use the continue token in this response to \
     retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list \
     - objects that were created, modified, or deleted between the time the first chunk was returned and now \
     may show up in the list.";

/// A page of a list.
pub struct Listing {
    /// Its records, in the order of keys.
    pub records: Vec<Arc<Record>>,
    /// The revision that it is as of.
    pub revision: Revision,
    /// The token of the next page; empty when there is none.
    pub continue_token: String,
    /// How many come after it, when that is known.
    pub remaining: Option<usize>,
}

impl Registry {
    /// The record of an object.
    ///
    /// # Errors
    /// 404
    pub async fn get(&self, target: &Target) -> Result<Arc<Record>, ApiError> {
        match self.store.get(&target.key()).await.map_err(internal)? {
            Some(record) => Ok(record),
            None => Err(ApiError::NotFound(Subject::of(&target.row.facts, &target.name))),
        }
    }

    /// The record of an object for a GET that names a revision: it must not be
    /// one that is still to come.
    ///
    /// # Errors
    /// 404, 504
    pub async fn get_since(&self, target: &Target, since: Option<Revision>) -> Result<Arc<Record>, ApiError> {
        if let Some(since) = since {
            self.reached(since)?;
        }
        self.get(target).await
    }

    /// A page of a collection.
    ///
    /// # Errors
    /// 400 for a forged page token, 410 for an expired one, 504 for a revision
    /// that is still to come.
    pub async fn list(&self, target: &Target, options: &ListOptions) -> Result<Listing, ApiError> {
        let filter = self.filter(target, options);
        let mut at = None;
        let mut after = None;
        if !options.continue_token.is_empty() {
            let page = Page::decode(&options.continue_token, &filter.prefix)?;
            if options.revision.is_some_and(|revision| revision.0 != 0) {
                let text = "specifying resource version is not allowed when using continue";
                return Err(ApiError::BadRequest(text.to_owned()));
            }
            at = page.revision;
            after = Some(page.after.into());
        } else if let Some(revision) = options.revision.filter(|revision| revision.0 != 0) {
            self.reached(revision)?;
            // Upstream serves the first page of a limited list at exactly the
            // revision only when asked to match it.
            at = options.exact.then_some(revision);
        }
        // Upstream's cache answers for "any revision" at once, and gives all that it has.
        let any = options.revision == Some(Revision(0)) && !options.exact && after.is_none();
        let limit = if any { 0 } else { options.limit };
        let mut listing = Listing {
            records: Vec::new(),
            revision: Revision(0),
            continue_token: String::new(),
            remaining: None,
        };
        loop {
            let query = Query { prefix: filter.prefix.as_str().into(), after: after.clone(), limit };
            let range = self
                .store
                .range(query, at)
                .await
                .map_err(|error| expired(error, after.as_deref(), &filter.prefix))?;
            at = Some(range.revision);
            listing.revision = range.revision;
            let last = range.records.last().map(|record| record.key.clone());
            let left = Self::take(&mut listing, range, &filter, limit);
            let Some(last) = last.filter(|_| left > 0) else { break };
            let full = limit > 0 && listing.records.len() >= limit;
            if full {
                let last = listing.records.last().map_or(last, |record| record.key.clone());
                listing.continue_token =
                    Page { revision: at, after: last.to_string() }.encode(&filter.prefix);
                listing.remaining = filter.is_everything().then_some(left);
                break;
            }
            after = Some(last);
        }
        Ok(listing)
    }

    // Takes what passes the filter, up to the limit; returns how many of the
    // range are left.
    fn take(listing: &mut Listing, range: Range, filter: &Filter, limit: usize) -> usize {
        if filter.is_everything() {
            listing.records.extend(range.records);
            return range.remaining;
        }
        let mut records = range.records.into_iter();
        for record in records.by_ref() {
            if filter.matches(&record) {
                listing.records.push(record);
                if limit > 0 && listing.records.len() == limit {
                    break;
                }
            }
        }
        records.len() + range.remaining
    }

    /// The filter of a list or a watch.
    pub fn filter(&self, target: &Target, options: &ListOptions) -> Filter {
        Filter {
            row: target.row.clone(),
            prefix: target.prefix(),
            labels: options.labels.clone(),
            fields: options.fields.clone(),
        }
    }

    // A revision that is still to come.
    fn reached(&self, revision: Revision) -> Result<(), ApiError> {
        let newest = self.store.revision();
        if revision <= newest {
            return Ok(());
        }
        Err(future(revision, newest))
    }
}

fn future(asked: Revision, newest: Revision) -> ApiError {
    ApiError::Timeout {
        message: format!("Too large resource version: {asked}, current: {newest}"),
        retry_after_seconds: 1,
        causes: vec![coracle_api::status::Cause {
            reason: "ResourceVersionTooLarge".to_owned(),
            message: "Too large resource version".to_owned(),
            field: String::new(),
        }],
    }
}

// A compacted revision: with a page token, there is one that goes on from now.
fn expired(error: StoreError, after: Option<&str>, prefix: &str) -> ApiError {
    match (error, after) {
        (StoreError::Compacted { .. }, Some(after)) => ApiError::ExpiredPage {
            message: EXPIRED_PAGE.to_owned(),
            token: Page { revision: None, after: after.to_owned() }.encode(prefix),
        },
        (StoreError::Compacted { .. }, None) => {
            ApiError::Expired("The resourceVersion for the provided list is too old.".to_owned())
        }
        (StoreError::Future { asked, newest }, _) => future(asked, newest),
        (error, _) => internal(error),
    }
}

/// What a store's failure is to a client.
pub fn internal(error: StoreError) -> ApiError {
    match error {
        StoreError::Closed => ApiError::Unavailable("the server is shutting down".to_owned()),
        error => ApiError::Internal(error.to_string()),
    }
}
