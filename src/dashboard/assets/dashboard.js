// Progressive enhancement of the pages. Each link and form also works without this file.
//
// Links and forms load the next page with fetch, and its <main> replaces the old one. Attributes:
//   data-full        on a link or form: let the browser load the whole page
//   data-copy="ID"   on a button: copy the value of the field with this ID
//   popovertarget    on a button: open or close a <dialog popover> as a modal dialog
// After each page, the event "flowgate:page" is sent to the document.

const body = document.body;
const status = document.getElementById("status");
let latest = 0;

document.documentElement.classList.add("scripted");

const announce = (text) => {
  status.textContent = "";
  requestAnimationFrame(() => { status.textContent = text; });
};

const closeMenus = (except) => {
  for (const menu of document.querySelectorAll("details.menu[open], .nav details[open]")) {
    if (menu !== except) menu.open = false;
  }
};

// A notice belongs to one view of a page, so a reload must not show it again.
const forgetNotice = () => {
  const url = new URL(location.href);
  if (!url.searchParams.has("notice")) return;
  url.searchParams.delete("notice");
  history.replaceState(null, "", url);
};

const focusOn = (target) => {
  if (!target) return;
  if (!target.matches("a, button, input, select, textarea, [tabindex]")) target.tabIndex = -1;
  target.focus({ preventScroll: true });
};

const showProblem = (node) => {
  const main = document.querySelector("main");
  main.querySelector(":scope > [data-error]")?.remove();
  document.querySelector("dialog[open]")?.close();
  main.prepend(node);
  node.scrollIntoView({ block: "nearest" });
  focusOn(node);
};

const connectionProblem = () => {
  const node = document.createElement("div");
  node.className = "notice bad";
  node.dataset.error = "";
  node.setAttribute("role", "alert");
  node.textContent = body.dataset.noConnection;
  return node;
};

const showPage = (page, url, { push, keep }) => {
  if (page.body.className !== body.className) {
    location.assign(url);
    return;
  }
  const focused = keep ? document.activeElement?.id : "";
  document.title = page.title;
  document.querySelector("main").replaceWith(page.querySelector("main"));
  const navigation = document.querySelector(".nav");
  if (navigation) navigation.replaceWith(page.querySelector(".nav"));
  if (push && url !== location.href) history.pushState(null, "", url);
  const main = document.querySelector("main");
  if (!keep) scrollTo(0, 0);
  const notice = main.querySelector(":scope > .notice[role]");
  const place = (focused && document.getElementById(focused)) || main.querySelector("[autofocus]");
  focusOn(place || notice || main.querySelector("h1"));
  announce(notice?.textContent.trim() || page.title);
  forgetNotice();
  document.dispatchEvent(new CustomEvent("flowgate:page"));
};

// Loads a page and shows it. An action that is refused leaves the page and its entries as they are.
const load = async (url, request, { push = true, keep = false, fallback } = {}) => {
  const number = ++latest;
  const main = document.querySelector("main");
  main.setAttribute("aria-busy", "true");
  let response;
  let text;
  try {
    response = await fetch(url, { credentials: "same-origin", ...request });
    text = await response.text();
  } catch {
    if (number === latest) {
      main.removeAttribute("aria-busy");
      showProblem(connectionProblem());
    }
    return;
  }
  if (number !== latest) return;
  main.removeAttribute("aria-busy");
  if (!response.headers.get("content-type")?.startsWith("text/html")) {
    fallback();
    return;
  }
  const page = new DOMParser().parseFromString(text, "text/html");
  const problem = request?.method === "POST" && !response.ok && page.querySelector("[data-error]");
  if (problem) {
    showProblem(document.importNode(problem, true));
  } else {
    const samePlace = new URL(response.url).pathname === location.pathname;
    showPage(page, response.url, { push: push && response.ok, keep: keep && samePlace });
  }
};

const isOurs = (url) => {
  const base = `${body.dataset.base}/`;
  const rest = url.pathname.slice(base.length);
  return url.origin === location.origin && url.pathname.startsWith(base)
    && !rest.startsWith("assets/") && !rest.startsWith("api/");
};

export const submit = (form, submitter) => {
  const data = new URLSearchParams(new FormData(form, submitter));
  const url = new URL(submitter?.getAttribute("formaction") || form.action);
  if (form.method === "post") {
    const request = { method: "POST", body: data };
    load(url, request, { keep: true, fallback: () => form.submit() });
  } else {
    for (const [name, value] of [...data]) if (value === "") data.delete(name, value);
    url.search = data;
    load(url, undefined, { keep: true, fallback: () => location.assign(url) });
  }
};

const openDialog = (button) => {
  const dialog = document.getElementById(button.getAttribute("popovertarget"));
  if (!(dialog instanceof HTMLDialogElement)) return false;
  if (dialog.open) dialog.close();
  else dialog.showModal();
  return true;
};

const copyField = async (button) => {
  const field = document.getElementById(button.dataset.copy);
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
    announce(body.dataset.copied);
    button.textContent = body.dataset.copied;
  } catch {
    // The text is selected and can be copied by hand.
  }
};

document.addEventListener("click", (event) => {
  closeMenus(event.target.closest("details"));
  const button = event.target.closest("button");
  if (button?.hasAttribute("popovertarget") && openDialog(button)) event.preventDefault();
  if (button?.dataset.copy) copyField(button);
  const link = event.target.closest("a[href]");
  const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (!link || !isPlain || event.defaultPrevented || link.target || "full" in link.dataset) return;
  const url = new URL(link.href);
  const isSamePage = url.hash && url.pathname + url.search === location.pathname + location.search;
  if (link.hasAttribute("download") || isSamePage || !isOurs(url)) return;
  event.preventDefault();
  closeMenus();
  load(link.href, undefined, { fallback: () => location.assign(link.href) });
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || "full" in form.dataset || form.method === "dialog") return;
  event.preventDefault();
  submit(form, event.submitter);
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const menu = document.querySelector("details.menu[open], .nav details[open]");
  closeMenus();
  menu?.querySelector("summary").focus();
});

addEventListener("popstate", () => {
  load(location.href, undefined, { push: false, fallback: () => location.reload() });
});

forgetNotice();
