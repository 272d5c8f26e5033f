//! Argon2id itself: to a PHC string, and back to a yes or no.
//!
//! Done with memory of our own instead of through the crate's traits: those allocate and free 19 MiB for each hash, which
//! glibc's allocator keeps for itself after a while, in pieces, without a bound (700 MB after 200 sign-ins at once; now 140 MB during
//! them and 60 MB after). Fresh pages for each hash cost about a quarter of its time.

use argon2::password_hash::Error as HashError;
use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use zeroize::Zeroizing;

const SALT_BYTES: usize = 16;

/// At least this much is asked for, of which only what is used takes memory: allocations beyond 32 MiB always have pages of
/// their own, which go back to the system at once.
const LEAST_BLOCKS: usize = 33 * 1024 * 1024 / size_of::<Block>();

/// A PHC string.
pub fn hash(argon2: &Argon2, password: &[u8]) -> Result<String, HashError> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|_| HashError::Crypto)?;
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(argon2.params())?,
        salt: Some(Salt::new(&salt)?),
        hash: Some(compute(argon2, password, &salt)?),
    };
    Ok(hash.to_string())
}

/// With the settings that are written in the hash, which may be older than the `present` ones. If those are weaker, a wrong password
/// takes as much work all the same: else a faster answer would tell that there is an account, and an old one.
pub fn verify(present: &Argon2, hash: &str, password: &[u8]) -> Result<bool, HashError> {
    let hash = PasswordHash::new(hash)?;
    let algorithm = Algorithm::try_from(hash.algorithm.as_str())?;
    let version = hash.version.map(Version::try_from).transpose()?.unwrap_or_default();
    let argon2 = Argon2::new(algorithm, version, Params::try_from(&hash)?);
    let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else { return Err(HashError::EncodingInvalid) };
    // Comparing outputs takes the same time whatever they are.
    let is_right = compute(&argon2, password, salt)? == *expected;
    if !is_right && let Some(rest) = shortfall(argon2.params(), present.params()) {
        pretend(&Argon2::new(Algorithm::Argon2id, Version::V0x13, rest), password)?;
    }
    Ok(is_right)
}

/// Blocks filled, which is what takes the time.
fn work(params: &Params) -> u64 {
    u64::from(params.m_cost()) * u64::from(params.t_cost())
}

/// Settings whose work is what `made` lacks of `present`. `None`: nothing that counts.
fn shortfall(made: &Params, present: &Params) -> Option<Params> {
    let missing = work(present).checked_sub(work(made))? / u64::from(present.t_cost());
    // Refused if it is less than Argon2 can do, some microseconds.
    Params::new(u32::try_from(missing).ok()?, present.t_cost(), present.p_cost(), None).ok()
}

/// Whether the hash was made with less memory or fewer passes than `argon2` uses, or by something else.
pub fn is_weaker(hash: &str, argon2: &Argon2) -> bool {
    let made = PasswordHash::new(hash).ok().filter(|hash| hash.algorithm == Algorithm::Argon2id.ident());
    let Some(made) = made.and_then(|hash| Params::try_from(&hash).ok()) else { return true };
    made.m_cost() < argon2.params().m_cost() || made.t_cost() < argon2.params().t_cost()
}

/// The same work for nothing.
pub fn pretend(argon2: &Argon2, password: &[u8]) -> Result<(), HashError> {
    std::hint::black_box(compute(argon2, password, &[0; SALT_BYTES])?);
    Ok(())
}

fn compute(argon2: &Argon2, password: &[u8], salt: &[u8]) -> Result<Output, HashError> {
    let blocks = argon2.params().block_count();
    let mut memory = Vec::with_capacity(blocks.max(LEAST_BLOCKS));
    memory.resize(blocks, Block::default());
    let mut buffer = Zeroizing::new([0; Output::MAX_LENGTH]);
    let length = argon2.params().output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
    let output = buffer.get_mut(..length).ok_or(HashError::OutputSize)?;
    argon2.hash_password_into_with_memory(password, salt, output, &mut memory)?;
    Ok(Output::new(output)?)
}

#[cfg(test)]
mod tests {
    use argon2::{PasswordHasher as _, PasswordVerifier as _};

    use super::*;

    #[test]
    fn a_wrong_password_is_as_much_work_with_an_older_hash() {
        let params = |memory, passes| Params::new(memory, passes, 1, None).unwrap();
        for (made, present) in [
            (params(19_456, 2), params(20_480, 3)),
            (params(19_456, 2), params(65_536, 2)),
            (params(47_104, 1), params(19_456, 4)),
            (params(19_456, 2), params(19_457, 2)),
        ] {
            let rest = shortfall(&made, &present).map_or(0, |rest| work(&rest));
            let lacking = work(&present) - work(&made) - rest;
            assert!(lacking < 64, "{made:?}, {present:?}: {lacking} blocks");
        }
        assert!(shortfall(&params(19_456, 2), &params(19_456, 2)).is_none());
        assert!(
            shortfall(&params(65_536, 3), &params(19_456, 2)).is_none(),
            "nothing is taken back from a stronger one"
        );
    }

    #[test]
    fn hashes_are_those_of_the_crate_in_both_directions() {
        let argon2 = Argon2::default();
        let ours = hash(&argon2, b"correct horse battery").unwrap();
        let parsed = PasswordHash::new(&ours).unwrap();
        assert!(argon2.verify_password(b"correct horse battery", &parsed).is_ok());
        assert!(argon2.verify_password(b"correct horse batterx", &parsed).is_err());
        let theirs = argon2.hash_password(b"correct horse battery").unwrap().to_string();
        assert!(verify(&argon2, &theirs, b"correct horse battery").unwrap());
        assert!(!verify(&argon2, &theirs, b"correct horse batterx").unwrap());
    }

    #[test]
    fn the_settings_in_the_hash_count() {
        let older = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8192, 3, 2, Some(24)).unwrap());
        let stored = hash(&older, b"correct horse battery").unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=8192,t=3,p=2$"), "{stored}");
        assert!(verify(&Argon2::default(), &stored, b"correct horse battery").unwrap());
        assert!(!verify(&Argon2::default(), &stored, b"").unwrap());
    }

    #[test]
    fn weaker_hashes_are_recognised() {
        let with = |memory, passes| {
            Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(memory, passes, 1, None).unwrap())
        };
        let stored = hash(&with(8192, 2), b"correct horse battery").unwrap();
        assert!(is_weaker(&stored, &with(8193, 2)) && is_weaker(&stored, &with(8192, 3)));
        assert!(!is_weaker(&stored, &with(8192, 2)) && !is_weaker(&stored, &with(64, 1)));
        assert!(is_weaker("x", &with(64, 1)));
    }

    #[test]
    fn what_is_no_hash_is_an_error() {
        for bad in [
            "",
            "x",
            "$argon2id$v=19$m=19456,t=2,p=1",
            "$2b$12$abcdefghijklmnopqrstuv",
            "$argon2id$v=19$m=1,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAA",
        ] {
            assert!(verify(&Argon2::default(), bad, b"x").is_err(), "{bad}");
        }
    }
}
