//! Any bytes as an API key: taken as they are, or refused.
#![no_main]

use api::keys::Key;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Half of the runs get a checksum that is right for the rest, or random bytes would never pass.
    let real = <[u8; 40]>::try_from(bytes).ok().map(|random| {
        let (id, secret) = random.split_at(8);
        Key::from_random(id.try_into().unwrap(), secret.try_into().unwrap())
    });
    if let Some(real) = real {
        assert_eq!(Key::parse(real.reveal()).unwrap(), real);
        assert_eq!(real.hash().len(), 64);
        return;
    }
    let text = String::from_utf8_lossy(bytes);
    if let Ok(key) = Key::parse(&text) {
        assert_eq!(key.reveal(), text);
        assert!(!format!("{key:?}").contains(&text[12..]), "a key is never printed");
    }
});
