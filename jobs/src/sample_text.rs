//! What a voice says of which nobody said what it shall say: one sentence for each of the greater languages. Pure.

/// Of a given text.
pub const TEXT_CHARS_MAX: usize = 500;

/// By the first part of the tag.
const SENTENCES: [(&str, &str); 26] = [
    ("ar", "مرحبا، هذا صوتي، ويسعدني أن أقرأ لك ما تكتبه اليوم."),
    ("bg", "Здравейте, това е моят глас и с радост ще ви прочета каквото напишете."),
    ("cs", "Dobrý den, tohle je můj hlas a rád vám přečtu, co napíšete."),
    ("da", "Hej, det her er min stemme, og jeg læser gerne højt, hvad du skriver."),
    ("de", "Guten Tag, so klinge ich, wenn ich vorlese, was du heute geschrieben hast."),
    ("el", "Γεια σας, αυτή είναι η φωνή μου και θα διαβάσω με χαρά ό,τι γράψετε."),
    ("en", "Hello, this is how I sound when I read aloud what you have written today."),
    ("es", "Hola, así suena mi voz cuando leo en voz alta lo que has escrito hoy."),
    ("fi", "Hei, tältä ääneni kuulostaa, kun luen ääneen sen, mitä kirjoitit tänään."),
    ("fr", "Bonjour, voici ma voix quand je lis à haute voix ce que vous avez écrit."),
    ("he", "שלום, כך אני נשמע כשאני קורא בקול את מה שכתבת היום."),
    ("hi", "नमस्ते, जब मैं आपका लिखा हुआ पढ़ता हूँ तो मेरी आवाज़ ऐसी लगती है।"),
    ("hu", "Jó napot, így hangzom, amikor felolvasom, amit ma írtál."),
    ("id", "Halo, beginilah suara saya ketika membacakan apa yang Anda tulis hari ini."),
    ("it", "Ciao, ecco come suona la mia voce quando leggo quello che hai scritto oggi."),
    ("ja", "こんにちは。今日あなたが書いた文章を、この声で読み上げます。"),
    ("ko", "안녕하세요, 오늘 쓰신 글을 이 목소리로 읽어 드립니다."),
    ("nb", "Hei, slik høres jeg ut når jeg leser høyt det du har skrevet i dag."),
    ("nl", "Hallo, zo klink ik wanneer ik voorlees wat je vandaag hebt geschreven."),
    ("pl", "Dzień dobry, tak brzmi mój głos, kiedy czytam to, co dziś napisałeś."),
    ("pt", "Olá, é assim que soa a minha voz quando leio o que você escreveu hoje."),
    ("ro", "Bună ziua, așa sună vocea mea când citesc ce ați scris astăzi."),
    ("ru", "Здравствуйте, так звучит мой голос, когда я читаю то, что вы написали."),
    ("sv", "Hej, så här låter jag när jag läser upp det du har skrivit i dag."),
    ("tr", "Merhaba, bugün yazdıklarınızı okurken sesim böyle duyuluyor."),
    ("zh", "你好，今天你写下的文字，我会用这个声音读给你听。"),
];

/// A sentence in a language; in English where there is none.
pub fn sentence(language: &str) -> &'static str {
    let primary = language.split('-').next().unwrap_or_default().to_ascii_lowercase();
    let english = SENTENCES.iter().find(|(tag, _)| *tag == "en");
    SENTENCES.iter().find(|(tag, _)| *tag == primary).or(english).map_or("Hello.", |(_, sentence)| sentence)
}

/// A given text as it is spoken: without marks, of which a single sentence needs none.
pub fn spoken(text: &str) -> Result<String, String> {
    let text = engine::text::marks::strip(text).trim().to_owned();
    if text.chars().count() > TEXT_CHARS_MAX {
        return Err(format!("must have at most {TEXT_CHARS_MAX} characters"));
    }
    if text.contains('\0') || !text.chars().any(char::is_alphanumeric) {
        return Err("holds nothing that can be said".into());
    }
    Ok(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_language_has_its_own_sentence() {
        assert!(SENTENCES.is_sorted_by_key(|(tag, _)| *tag));
        for (tag, wanted) in SENTENCES {
            assert_eq!(sentence(tag), wanted);
            assert_eq!(spoken(wanted).unwrap(), wanted);
            assert_eq!(sentence(&format!("{}-XX", tag.to_uppercase())), wanted);
        }
        assert_eq!(sentence("sw"), sentence("en-GB"));
    }

    #[test]
    fn what_can_not_be_said_is_refused() {
        assert_eq!(spoken(" Hello. [pause:2s] There. ").unwrap().split_whitespace().collect::<Vec<_>>(), ["Hello.", "There."]);
        for wrong in ["", " ?! ", "[pause]", "a\0b", &"x".repeat(TEXT_CHARS_MAX + 1)] {
            assert!(spoken(wrong).is_err(), "{wrong:?}");
        }
    }
}
