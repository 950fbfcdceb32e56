//! Contains the built-in texts, one table for each language. The texts are short, because a phone
//! shows them in a bar on the screen.
//!
//! See [`crate::domain::flow::customer_texts`] for the use of each text.

use jiff::civil::Weekday;

use super::keys::{Language, TextKey};

/// All texts of one language.
struct LanguageTexts {
    /// Texts in the order of [`TextKey::ALL`].
    texts: [&'static str; TextKey::ALL.len()],
    /// Short names of the weekdays, from Monday.
    weekdays: [&'static str; 7],
    months: [&'static str; 12],
}

/// Returns the built-in text for `key`.
pub(crate) fn built_in_text(language: Language, key: TextKey) -> &'static str {
    let index = TextKey::ALL.iter().position(|known| *known == key);
    index.map_or("", |index| entry(&texts_of(language).texts, index))
}

/// Returns the short name of a weekday.
pub(crate) fn weekday(language: Language, day: Weekday) -> &'static str {
    let index = usize::from(day.to_monday_zero_offset().unsigned_abs());
    entry(&texts_of(language).weekdays, index)
}

/// Returns the short name of a month. `month` is from 1 to 12.
pub(crate) fn month(language: Language, month: i8) -> &'static str {
    let index = usize::from(month.unsigned_abs()).saturating_sub(1);
    entry(&texts_of(language).months, index)
}

fn entry(table: &[&'static str], index: usize) -> &'static str {
    table.get(index).copied().unwrap_or_default()
}

const fn texts_of(language: Language) -> &'static LanguageTexts {
    match language {
        Language::En => &EN,
        Language::De => &DE,
        Language::Es => &ES,
        Language::Fr => &FR,
        Language::Id => &ID,
        Language::It => &IT,
        Language::Nl => &NL,
        Language::Pt => &PT,
    }
}

static EN: LanguageTexts = LanguageTexts {
    texts: [
        "Please fill in: {field}.",
        "{field}: please check this answer.",
        "{field}: at least {min} characters.",
        "{field}: at most {max} characters.",
        "{field}: please enter a valid e-mail address.",
        "{field}: please enter a valid phone number.",
        "{field}: please enter a number.",
        "{field}: please enter a whole number.",
        "{field}: at least {min}.",
        "{field}: at most {max}.",
        "{field}: please choose a date.",
        "{field}: please choose a time.",
        "{field}: please choose one of these: {choices}.",
        "This time has just been taken. Please choose another.",
        "This time is in the past. Please choose another.",
        "This time is too soon to be booked. Please choose a later one.",
        "This time is too far ahead. Please choose an earlier one.",
        "There is no appointment at this time. Please choose another.",
        "That is more than we can take in one form. Please shorten your answers.",
        "No free times at the moment.",
        "Nobody is available right now.",
        "You have already sent this form. Thank you.",
        "That did not work. Please try again in a moment.",
        "This form is no longer valid. Please ask for a new one.",
    ],
    weekdays: ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"],
    months: [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ],
};

static DE: LanguageTexts = LanguageTexts {
    texts: [
        "Bitte ausfüllen: {field}.",
        "{field}: Bitte prüfen Sie diese Angabe.",
        "{field}: mindestens {min} Zeichen.",
        "{field}: höchstens {max} Zeichen.",
        "{field}: Bitte geben Sie eine gültige E-Mail-Adresse ein.",
        "{field}: Bitte geben Sie eine gültige Telefonnummer ein.",
        "{field}: Bitte geben Sie eine Zahl ein.",
        "{field}: Bitte geben Sie eine ganze Zahl ein.",
        "{field}: mindestens {min}.",
        "{field}: höchstens {max}.",
        "{field}: Bitte wählen Sie ein Datum.",
        "{field}: Bitte wählen Sie eine Uhrzeit.",
        "{field}: Bitte wählen Sie eines davon: {choices}.",
        "Dieser Termin wurde gerade vergeben. Bitte wählen Sie einen anderen.",
        "Dieser Termin liegt in der Vergangenheit. Bitte wählen Sie einen anderen.",
        "Dieser Termin ist zu kurzfristig. Bitte wählen Sie einen späteren.",
        "Dieser Termin liegt zu weit voraus. Bitte wählen Sie einen früheren.",
        "Zu dieser Zeit gibt es keinen Termin. Bitte wählen Sie einen anderen.",
        "Das ist mehr, als ein Formular fasst. Bitte kürzen Sie Ihre Angaben.",
        "Zurzeit ist kein Termin frei.",
        "Gerade ist niemand frei.",
        "Sie haben dieses Formular bereits gesendet. Vielen Dank.",
        "Das hat nicht geklappt. Bitte versuchen Sie es gleich noch einmal.",
        "Dieses Formular ist nicht mehr gültig. Bitte lassen Sie sich ein neues schicken.",
    ],
    weekdays: ["Mo", "Di", "Mi", "Do", "Fr", "Sa", "So"],
    months: [
        "Jan", "Feb", "Mär", "Apr", "Mai", "Jun", "Jul", "Aug", "Sep", "Okt", "Nov", "Dez",
    ],
};

static ES: LanguageTexts = LanguageTexts {
    texts: [
        "Por favor, complete: {field}.",
        "{field}: por favor, revise esta respuesta.",
        "{field}: al menos {min} caracteres.",
        "{field}: como máximo {max} caracteres.",
        "{field}: introduzca un correo electrónico válido.",
        "{field}: introduzca un número de teléfono válido.",
        "{field}: introduzca un número.",
        "{field}: introduzca un número entero.",
        "{field}: al menos {min}.",
        "{field}: como máximo {max}.",
        "{field}: elija una fecha.",
        "{field}: elija una hora.",
        "{field}: elija una de estas opciones: {choices}.",
        "Esta hora acaba de ocuparse. Por favor, elija otra.",
        "Esta hora ya ha pasado. Por favor, elija otra.",
        "Esta hora es demasiado pronto. Por favor, elija una posterior.",
        "Esta hora es demasiado lejana. Por favor, elija una anterior.",
        "No hay citas a esta hora. Por favor, elija otra.",
        "El formulario es demasiado largo. Por favor, acorte sus respuestas.",
        "No hay horas libres por ahora.",
        "No hay nadie disponible.",
        "Ya ha enviado este formulario. Muchas gracias.",
        "No ha funcionado. Por favor, inténtelo de nuevo en un momento.",
        "Este formulario ya no es válido. Pida uno nuevo, por favor.",
    ],
    weekdays: ["lun", "mar", "mié", "jue", "vie", "sáb", "dom"],
    months: [
        "ene", "feb", "mar", "abr", "may", "jun", "jul", "ago", "sep", "oct", "nov", "dic",
    ],
};

static FR: LanguageTexts = LanguageTexts {
    texts: [
        "Veuillez remplir : {field}.",
        "{field} : veuillez vérifier cette réponse.",
        "{field} : au moins {min} caractères.",
        "{field} : au plus {max} caractères.",
        "{field} : veuillez saisir une adresse e-mail valide.",
        "{field} : veuillez saisir un numéro de téléphone valide.",
        "{field} : veuillez saisir un nombre.",
        "{field} : veuillez saisir un nombre entier.",
        "{field} : au moins {min}.",
        "{field} : au plus {max}.",
        "{field} : veuillez choisir une date.",
        "{field} : veuillez choisir une heure.",
        "{field} : veuillez choisir parmi : {choices}.",
        "Cet horaire vient d’être pris. Veuillez en choisir un autre.",
        "Cet horaire est déjà passé. Veuillez en choisir un autre.",
        "Cet horaire est trop proche. Veuillez en choisir un plus tardif.",
        "Cet horaire est trop lointain. Veuillez en choisir un plus proche.",
        "Il n’y a pas de rendez-vous à cette heure. Veuillez en choisir une autre.",
        "Le formulaire est trop long. Veuillez raccourcir vos réponses.",
        "Aucun horaire libre à présent.",
        "Personne n’est disponible.",
        "Vous avez déjà envoyé ce formulaire. Merci.",
        "Cela n’a pas fonctionné. Veuillez réessayer dans un instant.",
        "Ce formulaire n’est plus valable. Veuillez en demander un nouveau.",
    ],
    weekdays: ["lun", "mar", "mer", "jeu", "ven", "sam", "dim"],
    months: [
        "janv", "févr", "mars", "avr", "mai", "juin", "juil", "août", "sept", "oct", "nov", "déc",
    ],
};

static ID: LanguageTexts = LanguageTexts {
    texts: [
        "Mohon isi: {field}.",
        "{field}: mohon periksa jawaban ini.",
        "{field}: minimal {min} karakter.",
        "{field}: maksimal {max} karakter.",
        "{field}: mohon isi alamat email yang benar.",
        "{field}: mohon isi nomor telepon yang benar.",
        "{field}: mohon isi angka.",
        "{field}: mohon isi bilangan bulat.",
        "{field}: minimal {min}.",
        "{field}: maksimal {max}.",
        "{field}: mohon pilih tanggal.",
        "{field}: mohon pilih jam.",
        "{field}: mohon pilih salah satu: {choices}.",
        "Jadwal ini baru saja terisi. Mohon pilih yang lain.",
        "Jadwal ini sudah lewat. Mohon pilih yang lain.",
        "Jadwal ini terlalu dekat. Mohon pilih yang lebih lambat.",
        "Jadwal ini terlalu jauh. Mohon pilih yang lebih awal.",
        "Tidak ada jadwal pada jam ini. Mohon pilih yang lain.",
        "Formulir ini terlalu panjang. Mohon persingkat jawaban Anda.",
        "Belum ada jadwal kosong.",
        "Tidak ada yang tersedia.",
        "Anda sudah mengirim formulir ini. Terima kasih.",
        "Belum berhasil. Mohon coba lagi sebentar lagi.",
        "Formulir ini sudah tidak berlaku. Mohon minta yang baru.",
    ],
    weekdays: ["Sen", "Sel", "Rab", "Kam", "Jum", "Sab", "Min"],
    months: [
        "Jan", "Feb", "Mar", "Apr", "Mei", "Jun", "Jul", "Agu", "Sep", "Okt", "Nov", "Des",
    ],
};

static IT: LanguageTexts = LanguageTexts {
    texts: [
        "Compilare, per favore: {field}.",
        "{field}: controlli questa risposta.",
        "{field}: almeno {min} caratteri.",
        "{field}: al massimo {max} caratteri.",
        "{field}: inserisca un indirizzo e-mail valido.",
        "{field}: inserisca un numero di telefono valido.",
        "{field}: inserisca un numero.",
        "{field}: inserisca un numero intero.",
        "{field}: almeno {min}.",
        "{field}: al massimo {max}.",
        "{field}: scelga una data.",
        "{field}: scelga un orario.",
        "{field}: scelga tra: {choices}.",
        "Questo orario è appena stato preso. Ne scelga un altro.",
        "Questo orario è già passato. Ne scelga un altro.",
        "Questo orario è troppo vicino. Ne scelga uno successivo.",
        "Questo orario è troppo lontano. Ne scelga uno precedente.",
        "Non ci sono appuntamenti a quest’ora. Ne scelga un’altra.",
        "Il modulo è troppo lungo. Abbrevi le risposte, per favore.",
        "Nessun orario libero per ora.",
        "Nessuno è disponibile.",
        "Ha già inviato questo modulo. Grazie.",
        "Non ha funzionato. Riprovi tra un momento.",
        "Questo modulo non è più valido. Ne richieda uno nuovo, per favore.",
    ],
    weekdays: ["lun", "mar", "mer", "gio", "ven", "sab", "dom"],
    months: [
        "gen", "feb", "mar", "apr", "mag", "giu", "lug", "ago", "set", "ott", "nov", "dic",
    ],
};

static NL: LanguageTexts = LanguageTexts {
    texts: [
        "Vul dit in: {field}.",
        "{field}: controleer dit antwoord.",
        "{field}: minstens {min} tekens.",
        "{field}: hoogstens {max} tekens.",
        "{field}: vul een geldig e-mailadres in.",
        "{field}: vul een geldig telefoonnummer in.",
        "{field}: vul een getal in.",
        "{field}: vul een geheel getal in.",
        "{field}: minstens {min}.",
        "{field}: hoogstens {max}.",
        "{field}: kies een datum.",
        "{field}: kies een tijd.",
        "{field}: kies een van deze: {choices}.",
        "Deze tijd is net bezet. Kies een andere.",
        "Deze tijd is al voorbij. Kies een andere.",
        "Deze tijd is te kort dag. Kies een latere.",
        "Deze tijd ligt te ver vooruit. Kies een eerdere.",
        "Er is geen afspraak op deze tijd. Kies een andere.",
        "Het formulier is te lang. Maak uw antwoorden korter.",
        "Er is nu geen tijd vrij.",
        "Er is niemand beschikbaar.",
        "U hebt dit formulier al verstuurd. Dank u wel.",
        "Dat is niet gelukt. Probeer het zo nog eens.",
        "Dit formulier is niet meer geldig. Vraag om een nieuw formulier.",
    ],
    weekdays: ["ma", "di", "wo", "do", "vr", "za", "zo"],
    months: [
        "jan", "feb", "mrt", "apr", "mei", "jun", "jul", "aug", "sep", "okt", "nov", "dec",
    ],
};

static PT: LanguageTexts = LanguageTexts {
    texts: [
        "Por favor, preencha: {field}.",
        "{field}: por favor, confira esta resposta.",
        "{field}: pelo menos {min} caracteres.",
        "{field}: no máximo {max} caracteres.",
        "{field}: informe um e-mail válido.",
        "{field}: informe um número de telefone válido.",
        "{field}: informe um número.",
        "{field}: informe um número inteiro.",
        "{field}: pelo menos {min}.",
        "{field}: no máximo {max}.",
        "{field}: escolha uma data.",
        "{field}: escolha um horário.",
        "{field}: escolha uma destas opções: {choices}.",
        "Este horário acabou de ser ocupado. Por favor, escolha outro.",
        "Este horário já passou. Por favor, escolha outro.",
        "Este horário é muito em breve. Por favor, escolha um mais tarde.",
        "Este horário está muito distante. Por favor, escolha um mais próximo.",
        "Não há atendimento neste horário. Por favor, escolha outro.",
        "O formulário ficou longo demais. Por favor, encurte suas respostas.",
        "Não há horários livres agora.",
        "Ninguém está disponível.",
        "Você já enviou este formulário. Obrigado.",
        "Não deu certo. Por favor, tente de novo em instantes.",
        "Este formulário não é mais válido. Por favor, peça um novo.",
    ],
    weekdays: ["seg", "ter", "qua", "qui", "sex", "sáb", "dom"],
    months: [
        "jan", "fev", "mar", "abr", "mai", "jun", "jul", "ago", "set", "out", "nov", "dez",
    ],
};
