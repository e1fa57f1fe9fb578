//! A hash of all that a version's document is made from.
//!
//! Clients learn the hashes of all documents before they ask for one, so a
//! hash must not need the document.

use std::{borrow::Cow, collections::HashSet};

use coracle_api::{
    GroupVersionKind,
    schema::{Field, ListKind, Shape, Struct},
};
use ring::digest::{Context, SHA512};

use crate::discovery::groups::{Group, Version, custom};

/// The hash of a version's document, of 64 bytes.
pub fn of(group: &Group, version: &Version) -> Vec<u8> {
    let mut it = Fingerprint { context: Context::new(&SHA512), seen: HashSet::new() };
    // What a release changes in how documents are written.
    it.text(env!("CARGO_PKG_VERSION"));
    it.text(&group.name);
    it.text(&version.name);
    for resource in &version.resources {
        it.kind(&resource.gvk);
        it.texts(&[resource.plural.clone(), resource.list_kind.clone()]);
        it.flags(&[resource.namespaced, custom(resource)]);
        it.texts(&resource.verbs);
        // Of a custom resource all that its CRD says may be in the document.
        match resource.said() {
            Some(said) => it.text(&said.to_string()),
            None => it.object(&resource.schema),
        }
        for subresource in resource.subresources.iter() {
            it.text(&subresource.name);
            it.kind(&subresource.gvk);
            it.texts(&subresource.verbs);
            if let Some(schema) = subresource.schema.as_ref().filter(|it| !it.is_custom()) {
                it.object(schema);
            }
        }
    }
    it.context.finish().as_ref().to_vec()
}

struct Fingerprint<'a> {
    context: Context,
    seen: HashSet<(&'a str, bool)>,
}

impl<'a> Fingerprint<'a> {
    // With its length, so that no two lists of texts are the same bytes.
    fn text(&mut self, text: &str) {
        self.context.update(&(text.len() as u64).to_le_bytes());
        self.context.update(text.as_bytes());
    }

    fn texts(&mut self, texts: &[Cow<'static, str>]) {
        self.context.update(&(texts.len() as u64).to_le_bytes());
        texts.iter().for_each(|it| self.text(it));
    }

    fn flags(&mut self, flags: &[bool]) {
        flags.iter().for_each(|it| self.context.update(&[u8::from(*it)]));
    }

    fn kind(&mut self, it: &GroupVersionKind) {
        self.texts(&[it.group.clone(), it.version.clone(), it.kind.clone()]);
    }

    fn object(&mut self, it: &'a Struct) {
        self.text(&it.name);
        self.flags(&[it.atomic, it.open]);
        // Named structs hold themselves; unnamed ones cannot.
        if it.name.contains('.') && !self.seen.insert((&it.name, it.atomic)) {
            return;
        }
        it.fields.iter().for_each(|field| self.field(field));
    }

    fn field(&mut self, it: &'a Field) {
        self.text(&it.name);
        let patch = it.patch;
        self.flags(&[it.required, patch.merge, patch.retain_keys, patch.replace]);
        self.text(it.default.as_deref().unwrap_or_default());
        self.text(patch.key.unwrap_or_default());
        self.shape(&it.shape);
    }

    fn shape(&mut self, shape: &'a Shape) {
        match shape {
            Shape::Struct(it) => self.object(it),
            Shape::List(it) => {
                match &it.kind {
                    ListKind::Atomic => self.text("list"),
                    ListKind::Set => self.text("set"),
                    ListKind::Map(keys) => self.texts(keys),
                }
                self.shape(&it.element);
            }
            Shape::Map(it) => {
                self.text("map");
                self.flags(&[it.atomic]);
                self.shape(&it.value);
            }
            // The others print their names and nothing else.
            scalar => self.text(&format!("{scalar:?}")),
        }
    }
}
