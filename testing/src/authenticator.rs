//! A device with passkeys, as far as a server sees it: ES256, no attestation, one credential for each registration.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

const USER_PRESENT: u8 = 1;
const USER_VERIFIED: u8 = 4;
const HAS_CREDENTIAL: u8 = 64;

/// One passkey, and the browser around it.
pub struct Authenticator {
    key: Vec<u8>,
    id: Vec<u8>,
    user_handle: Vec<u8>,
    /// What the next signature says about how many there were. 0 stays 0: the device does not count.
    pub counter: u32,
    /// Whether it checks who uses it.
    pub verifies: bool,
    /// The page on which it is used.
    pub origin: String,
}

impl Authenticator {
    /// Makes a passkey: `options` as the server gave them, and what the browser answers.
    pub fn create(origin: &str, options: &Value) -> (Self, Value) {
        Self::create_counting_from(1, origin, options)
    }

    /// The same on a device that counts no signatures, as those do that share passkeys over the network.
    pub fn create_uncounted(origin: &str, options: &Value) -> (Self, Value) {
        Self::create_counting_from(0, origin, options)
    }

    fn create_counting_from(counter: u32, origin: &str, options: &Value) -> (Self, Value) {
        let options = &options["publicKey"];
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let mut id = vec![0; 32];
        random.fill(&mut id).unwrap();
        let this = Self {
            key: key.as_ref().to_vec(),
            id,
            user_handle: BASE64.decode(options["user"]["id"].as_str().unwrap()).unwrap(),
            counter,
            verifies: true,
            origin: origin.to_owned(),
        };
        let client_data = this.client_data("webauthn.create", options);
        let mut data = this.data(options["rp"]["id"].as_str().unwrap(), HAS_CREDENTIAL);
        // The model of the device: none. Then the credential: length, id, and the key as COSE.
        data.extend([0; 16]);
        data.extend(u16::try_from(this.id.len()).unwrap().to_be_bytes());
        data.extend(&this.id);
        data.extend(this.cose_key());
        let attestation = attestation_object(&data);
        let answer = json!({
            "id": BASE64.encode(&this.id), "rawId": BASE64.encode(&this.id), "type": "public-key",
            "response": {
                "clientDataJSON": BASE64.encode(client_data),
                "attestationObject": BASE64.encode(attestation),
            },
            "extensions": {},
        });
        (this, answer)
    }

    /// Signs in: what the browser answers.
    pub fn get(&mut self, options: &Value) -> Value {
        let options = &options["publicKey"];
        if self.counter > 0 {
            self.counter += 1;
        }
        let client_data = self.client_data("webauthn.get", options);
        let data = self.data(options["rpId"].as_str().unwrap(), 0);
        let signed = [data.as_slice(), digest(&SHA256, &client_data).as_ref()].concat();
        let signature = self.pair().sign(&SystemRandom::new(), &signed).unwrap();
        json!({
            "id": BASE64.encode(&self.id), "rawId": BASE64.encode(&self.id), "type": "public-key",
            "response": {
                "clientDataJSON": BASE64.encode(client_data),
                "authenticatorData": BASE64.encode(data),
                "signature": BASE64.encode(signature),
                "userHandle": BASE64.encode(&self.user_handle),
            },
            "extensions": {},
        })
    }

    /// Claims to be somebody else's.
    pub fn claim(&mut self, other: &Self) {
        self.user_handle.clone_from(&other.user_handle);
    }

    /// The same passkey on another device.
    #[must_use]
    pub fn copy(&self) -> Self {
        let (key, id, user_handle) = (self.key.clone(), self.id.clone(), self.user_handle.clone());
        Self { key, id, user_handle, counter: self.counter, verifies: self.verifies, origin: self.origin.clone() }
    }

    fn pair(&self) -> EcdsaKeyPair {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &self.key, &SystemRandom::new()).unwrap()
    }

    fn client_data(&self, kind: &str, options: &Value) -> Vec<u8> {
        let data =
            json!({ "type": kind, "challenge": options["challenge"], "origin": self.origin, "crossOrigin": false });
        data.to_string().into_bytes()
    }

    /// WebAuthn, 6.1.
    fn data(&self, party: &str, flags: u8) -> Vec<u8> {
        let verified = if self.verifies { USER_VERIFIED } else { 0 };
        let mut data = digest(&SHA256, party.as_bytes()).as_ref().to_vec();
        data.push(flags | USER_PRESENT | verified);
        data.extend(self.counter.to_be_bytes());
        data
    }

    /// RFC 9053: `{1: 2, 3: -7, -1: 1, -2: x, -3: y}` as CBOR.
    fn cose_key(&self) -> Vec<u8> {
        let pair = self.pair();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let head: &[u8] = &[0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 32];
        [head, x, &[0x22, 0x58, 32], y].concat()
    }
}

/// `{"fmt": "none", "attStmt": {}, "authData": data}` as CBOR.
fn attestation_object(data: &[u8]) -> Vec<u8> {
    let mut object = vec![0xa3, 0x63];
    object.extend(b"fmt");
    object.push(0x64);
    object.extend(b"none");
    object.push(0x67);
    object.extend(b"attStmt");
    object.extend([0xa0, 0x68]);
    object.extend(b"authData");
    object.push(0x59);
    object.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    object.extend(data);
    object
}
