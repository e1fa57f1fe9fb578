//! Tokens of this cluster: JSON Web Tokens, signed with its key (ES256).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ring::{
    digest,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
    },
};
use serde_json::{Map, Value, json};

/// Who the tokens say that they are from, and, unless they say otherwise, for.
pub const NAME: &str = "https://kubernetes.default.svc";

// What comes before a P-256 point in the public key's own encoding (RFC 5480).
const SPKI: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// What a token says.
pub type Claims = Map<String, Value>;

/// The key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the key that signs tokens is no P-256 key: {0}")]
pub struct KeyError(String);

/// Why a token is not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum TokenError {
    /// It is no token, or not from here.
    Foreign,
    /// Its signature is not good.
    Forged,
}

/// Signs tokens and knows its own again.
pub struct Issuer {
    key: EcdsaKeyPair,
    id: String,
}

impl Issuer {
    /// The issuer with this key, in PKCS#8.
    ///
    /// # Errors
    /// When it is no P-256 key.
    pub fn new(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random)
            .map_err(|error| KeyError(error.to_string()))?;
        let encoded = [SPKI, key.public_key().as_ref()].concat();
        let id = BASE64.encode(digest::digest(&digest::SHA256, &encoded));
        Ok(Self { key, id })
    }

    /// An issuer whose key is kept nowhere.
    ///
    /// # Errors
    /// When there is no randomness to be had.
    pub fn ephemeral() -> Result<Self, KeyError> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|error| KeyError(error.to_string()))?;
        Self::new(pkcs8.as_ref())
    }

    /// The token that says this.
    ///
    /// # Errors
    /// When there is no randomness to be had.
    pub fn sign(&self, claims: &Claims) -> Result<String, KeyError> {
        let header = json!({ "alg": "ES256", "kid": self.id }).to_string();
        let claims = serde_json::to_vec(claims).map_err(|error| KeyError(error.to_string()))?;
        let signed = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
        let signature = self
            .key
            .sign(&SystemRandom::new(), signed.as_bytes())
            .map_err(|error| KeyError(error.to_string()))?;
        Ok(format!("{signed}.{}", BASE64.encode(signature)))
    }

    /// What a token of ours says. Whether it is still good is for others to
    /// judge.
    ///
    /// # Errors
    /// When it is not ours.
    pub fn open(&self, token: &str) -> Result<Claims, TokenError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Foreign)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Foreign)?;
        let decoded =
            |part: &str| -> Option<Claims> { serde_json::from_slice(&BASE64.decode(part).ok()?).ok() };
        let claims = decoded(claims).ok_or(TokenError::Foreign)?;
        if claims.get("iss").and_then(Value::as_str) != Some(NAME) {
            return Err(TokenError::Foreign);
        }
        let header = decoded(header).ok_or(TokenError::Foreign)?;
        if header.get("alg").and_then(Value::as_str) != Some("ES256") {
            return Err(TokenError::Forged);
        }
        let signature = BASE64.decode(signature).map_err(|_| TokenError::Forged)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key().as_ref())
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| TokenError::Forged)?;
        Ok(claims)
    }

    /// The set of keys by which others know tokens of ours (RFC 7517).
    pub fn keys(&self) -> String {
        let point = self.key.public_key().as_ref();
        let half = |from: usize| BASE64.encode(point.get(from..from + 32).unwrap_or_default());
        format!(
            r#"{{"keys":[{{"use":"sig","kty":"EC","kid":"{}","crv":"P-256","alg":"ES256","x":"{}","y":"{}"}}]}}"#,
            self.id,
            half(1),
            half(33)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(issuer: &str) -> Claims {
        json!({ "iss": issuer, "sub": "jo" }).as_object().cloned().unwrap()
    }

    #[test]
    fn only_its_own_tokens_are_opened() {
        let issuer = Issuer::ephemeral().unwrap();
        let token = issuer.sign(&claims(NAME)).unwrap();
        assert_eq!(issuer.open(&token), Ok(claims(NAME)));
        let (head, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = head.split_once('.').unwrap();
        let other = BASE64.encode(json!({ "iss": NAME, "sub": "eve" }).to_string());
        let none = BASE64.encode(json!({ "alg": "none" }).to_string());
        let body = head.split_once('.').unwrap().1;
        for (token, expected) in [
            ("", TokenError::Foreign),
            ("a.b.c", TokenError::Foreign),
            ("....", TokenError::Foreign),
            (&issuer.sign(&claims("https://elsewhere")).unwrap(), TokenError::Foreign),
            (&Issuer::ephemeral().unwrap().sign(&claims(NAME)).unwrap(), TokenError::Forged),
            (&format!("{header}.{other}.{signature}"), TokenError::Forged),
            (&format!("{none}.{body}."), TokenError::Forged),
            (&format!("{head}."), TokenError::Forged),
        ] {
            assert_eq!(issuer.open(token), Err(expected), "{token}");
        }
    }
}
