// Where no cookie is kept: the secret of this browser lies in the storage of the tab, under the launch that it is for,
// because some EHRs share that storage between the pages that they embed.
const { key, secret, next } = document.querySelector("main").dataset;
const form = document.querySelector("form");
try {
  if (form) {
    form.elements.secret.value = sessionStorage.getItem("sitbone:" + key) ?? "";
    if (form.elements.secret.value) form.submit();
  } else {
    sessionStorage.setItem("sitbone:" + key, secret);
    location.replace(next);
  }
} catch {
  // A frame that may keep nothing: what stands on the page says what to do.
}
