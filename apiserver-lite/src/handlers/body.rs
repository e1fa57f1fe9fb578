//! Reading a request's body, within limits of size and time.

use bytes::{Bytes, BytesMut};
use coracle_api::{GroupVersionKind, Object, schema::Struct};
use http_body_util::BodyExt;
use serde_json::Value;

use super::Call;
use crate::{
    codec::{
        negotiation::{self, Input},
        protobuf, yaml,
    },
    error::ApiError,
    registry::options::FieldValidation,
    schema::decode,
};

// What is read past the limit and thrown away: a client that is still sending
// would find its connection reset, and never see the answer.
const SLACK: usize = 256 << 10;

/// All of a body.
///
/// # Errors
/// 413 past the limit, 400 for one that breaks off, 504 for one that does not
/// end.
pub async fn read<B>(call: &Call<'_>, mut body: B) -> Result<Bytes, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    let config = &call.registry().config;
    let (limit, patience) = (config.max_body, config.body_patience);
    if body.size_hint().lower() > limit as u64 {
        let _ = tokio::time::timeout(patience, discard(&mut body, limit + SLACK)).await;
        return Err(ApiError::TooLarge(limit));
    }
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let read = async {
        let read = collect(&mut body, limit).await;
        if matches!(read, Err(ApiError::TooLarge(_))) {
            discard(&mut body, SLACK).await;
        }
        read
    };
    match tokio::time::timeout(patience, read).await {
        Ok(read) => {
            let size = read.as_ref().map_or(limit, Bytes::len);
            call.registry().metrics.requests.body(call.info, size);
            read
        }
        Err(_) => Err(ApiError::Timeout {
            message: "request did not complete within the allowed duration".to_owned(),
            retry_after_seconds: 0,
            causes: Vec::new(),
        }),
    }
}

// Reads at most so many bytes more, for nothing.
async fn discard<B>(body: &mut B, mut left: usize)
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
{
    while left > 0 {
        // Only the size is kept: errors of a body need not be `Send`.
        let read = body.frame().await.map(|frame| frame.map(|it| it.data_ref().map_or(0, Bytes::len)).ok());
        let Some(Some(size)) = read else { return };
        left = left.saturating_sub(size);
    }
}

async fn collect<B>(body: &mut B, limit: usize) -> Result<Bytes, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::fmt::Display,
{
    let mut first: Option<Bytes> = None;
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::BadRequest("unexpected EOF".to_owned()))?;
        let Ok(data) = frame.into_data() else { continue };
        if all.len() + first.as_ref().map_or(0, Bytes::len) + data.len() > limit {
            return Err(ApiError::TooLarge(limit));
        }
        // One frame, as most bodies are, is taken as it is.
        if first.is_none() && all.is_empty() {
            first = Some(data);
            continue;
        }
        if let Some(first) = first.take() {
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&data);
    }
    Ok(first.unwrap_or_else(|| all.freeze()))
}

/// A body and the format that it is in.
pub struct Sent {
    format: Input,
    bytes: Bytes,
}

impl Sent {
    /// The body, an object of `schema`, as JSON.
    ///
    /// # Errors
    /// 400 for bad YAML and protobuf
    pub fn json(&self, schema: &Struct) -> Result<Bytes, ApiError> {
        let tree = match self.format {
            Input::Json => return Ok(self.bytes.clone()),
            Input::Yaml => yaml::read(&self.bytes).map_err(ApiError::BadRequest)?,
            Input::Protobuf => unpacked(&self.bytes, schema).map_err(ApiError::BadRequest)?,
        };
        Ok(Bytes::from(serde_json::to_vec(&tree).unwrap_or_default()))
    }
}

// The object in a protobuf envelope, with the kind that the envelope names.
fn unpacked(bytes: &[u8], schema: &Struct) -> Result<Value, String> {
    let envelope = protobuf::read(bytes, schema).map_err(|error| error.to_string())?;
    let mut object = envelope.object;
    object.insert("apiVersion".to_owned(), envelope.api_version.into());
    object.insert("kind".to_owned(), envelope.kind.into());
    Ok(Value::Object(object))
}

/// A body in the format that its headers name.
///
/// # Errors
/// 415
pub fn sent(call: &Call<'_>, bytes: Bytes) -> Result<Sent, ApiError> {
    Ok(Sent { format: negotiation::input(call.headers())?, bytes })
}

/// Decodes an object, and meets what the schema does not have as the client
/// wants it met.
///
/// # Errors
/// 400
pub fn object(
    call: &Call<'_>,
    sent: &Sent,
    gvk: &GroupVersionKind,
    schema: &Struct,
    validation: FieldValidation,
) -> Result<Object, ApiError> {
    let decoded = match sent.format {
        Input::Json => decode::json(&sent.bytes, gvk, schema),
        Input::Yaml => decode::yaml(&sent.bytes, gvk, schema),
        Input::Protobuf => match unpacked(&sent.bytes, schema) {
            Ok(tree) => decode::json(&serde_json::to_vec(&tree).unwrap_or_default(), gvk, schema),
            Err(fault) => Err(decode::unrecognized(fault, &sent.bytes, gvk)),
        },
    };
    let decoded = decoded.map_err(|error| ApiError::BadRequest(error.to_string()))?;
    match validation {
        FieldValidation::Strict => match decoded.refusal(gvk) {
            Some(message) => Err(ApiError::BadRequest(message)),
            None => Ok(decoded.object),
        },
        FieldValidation::Warn => {
            call.warn(decoded.strict.iter().flat_map(|text| lines(text)).collect());
            Ok(decoded.object)
        }
        FieldValidation::Ignore => Ok(decoded.object),
    }
}

// Each of the errors that upstream's YAML reader tells in one.
fn lines(text: &str) -> Vec<String> {
    match text.strip_prefix("yaml: unmarshal errors:\n") {
        Some(rest) => rest.lines().map(|line| line.trim().to_owned()).collect(),
        None => vec![text.to_owned()],
    }
}
