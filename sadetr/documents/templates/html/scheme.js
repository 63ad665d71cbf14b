  // Colours: the style sheet's own dark ones, for the system's choice, always or never.

  const schemes = document.getElementById("scheme");
  const dark = [...document.styleSheets[0].cssRules].find(
    (rule) => rule.media && rule.media.mediaText.includes("prefers-color-scheme"));
  const asSystem = dark.media.mediaText;

  /** What is kept between visits, where the browser keeps anything for a file. */
  function remembered(value) {
    try {
      if (value === undefined) return localStorage.getItem("sadetr-scheme") || "";
      localStorage.setItem("sadetr-scheme", value);
    } catch { /* It does not. */ }
    return "";
  }

  function setScheme(scheme) {
    document.documentElement.dataset.scheme = scheme;
    dark.media.mediaText = { light: "not all", dark: "screen" }[scheme] || asSystem;
  }

  schemes.value = remembered();
  setScheme(schemes.value);
  schemes.addEventListener("change", () => {
    remembered(schemes.value);
    setScheme(schemes.value);
  });
  schemes.closest("[hidden]").hidden = false;
