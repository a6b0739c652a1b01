// What the page says, in English and Chinese.

const WORDS = {
  en: {
    language: "中文", theme: "Light / dark", draw: "Draw", read: "Read", make: "Make", runs: "Runs",
    whatCounted: "Show what counted", clear: "Clear", undo: "Undo", open: "Open a picture…",
    drawHint: "Draw one digit with mouse, finger or pen, or drop a picture here. With the keyboard: arrows move, space puts the pen down and lifts it, Delete clears, Ctrl+Z takes back.",
    padLabel: "Paper to draw on. Arrows move the pen, space puts it down and lifts it, Delete clears.",
    penDown: "pen down", penUp: "pen up",
    seen: "as the model sees it", heat: "what counted: red for the answer, blue against it",
    tested: "of the test images", testedTexts: "of the test texts", testedWords: "of the words of the test texts", nothingYet: "Draw something.", noClassifier: "None of the models served classifies images: see “Make”.",
    noMaker: "None of the models served makes anything new: see “Draw”. Serve a run of vae, gan, language-model or masked too.",
    readHint: "Write a text: each model says what it is, or puts in the punctuation that it lacks, while you write.",
    text: "Text", nothingWritten: "Write something.", cut: "Longer than the model reads: of {tokens} tokens the first {read} count.",
    noReader: "None of the models served classifies text. Serve a run of classify-tokens or label-sequence on text too.",
    newCode: "Draw a code", mean: "Mean code", samples: "64 new images", temperature: "temperature",
    telling: "The numbers of the code that change the image most", all: "All numbers of the code",
    given: "rows given", complete: "Complete it", repaint: "Repaint what is erased", brush: "Erase a part", pencil: "Draw",
    upperHint: "Draw the upper part of a digit inside the dotted box; the model puts the rest below the line, patch by patch.",
    partsHint: "Draw a digit inside the dotted box, then erase a part; the model finds the erased patches.",
    goOn: "Go on", prompt: "Beginning of the text", stop: "Stop", cutOff: "the answer was cut off", busy: "computing",
    value: "Value", logScale: "log scale", step: "step", live: "live", away: "connection lost; trying again",
    run: "run", objective: "objective", net: "net", epochs: "epochs", test: "test", seconds: "seconds", noRuns: "No runs yet.",
  },
  zh: {
    language: "English", theme: "浅色 / 深色", draw: "手写", read: "文本", make: "生成", runs: "训练",
    whatCounted: "显示判断依据", clear: "清除", undo: "撤销", open: "打开图片…",
    drawHint: "用鼠标、手指或笔写一个数字,或把图片拖到这里。键盘:方向键移动,空格落笔和提笔,Delete 清除,Ctrl+Z 撤销。",
    padLabel: "手写区。方向键移动笔,空格落笔和提笔,Delete 清除。",
    penDown: "落笔", penUp: "提笔",
    seen: "模型看到的图像", heat: "判断依据:红色支持,蓝色反对",
    tested: "(测试集准确率)", testedTexts: "(测试集准确率)", testedWords: "(测试集逐词准确率)", nothingYet: "请先写一个数字。", noClassifier: "所服务的模型都不做图像分类,请看“生成”。",
    noMaker: "所服务的模型都不能生成新内容,请看“手写”。可以同时服务 vae、gan、language-model 或 masked 的训练结果。",
    readHint: "输入文本:边写边看每个模型的判断,或由它补上缺少的标点。",
    text: "文本", nothingWritten: "请先输入文本。", cut: "文本长于模型所读:共 {tokens} 个词元,只有前 {read} 个计入。",
    noReader: "所服务的模型都不做文本分类。可以同时服务在文本上训练的 classify-tokens 或 label-sequence。",
    newCode: "随机编码", mean: "平均编码", samples: "64 张新图像", temperature: "温度",
    telling: "对图像影响最大的编码分量", all: "全部编码分量",
    given: "给定行数", complete: "补全", repaint: "重画擦除部分", brush: "擦除", pencil: "书写",
    upperHint: "在虚线框内写出数字的上半部分,模型会在横线以下逐块补全。",
    partsHint: "在虚线框内写一个数字,再擦去一部分,模型会找出被擦除的块。",
    goOn: "续写", prompt: "文本开头", stop: "停止", cutOff: "回答中断", busy: "计算中",
    value: "指标", logScale: "对数坐标", step: "步", live: "实时", away: "连接中断,正在重试",
    run: "训练", objective: "目标", net: "网络", epochs: "轮数", test: "测试", seconds: "秒", noRuns: "还没有训练结果。",
  },
};

const stored = (key) => { try { return localStorage.getItem(key); } catch { return null; } };
export const keep = (key, value) => { try { localStorage.setItem(key, value); } catch { /* a private window */ } };

let language = stored("language") ?? (navigator.language.startsWith("zh") ? "zh" : "en");
if (!(language in WORDS)) language = "en";

/** A word in the page's language. */
export const word = (key) => WORDS[language][key] ?? key;

/** Writes all words of the page that are marked with `data-word`. */
export function translate() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-word]")) element.textContent = word(element.dataset.word);
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", word(element.dataset.label));
  const button = document.getElementById("language");
  button.textContent = word("language");
  button.lang = language === "zh" ? "en" : "zh";
}

export function otherLanguage() {
  language = language === "zh" ? "en" : "zh";
  keep("language", language);
  translate();
}

/** Light or dark: as the system has it until the button is pressed. */
export function theme() {
  const kept = stored("theme");
  if (kept) document.documentElement.dataset.theme = kept;
  document.getElementById("theme").onclick = () => {
    const dark = getComputedStyle(document.documentElement).colorScheme === "dark";
    document.documentElement.dataset.theme = dark ? "light" : "dark";
    keep("theme", dark ? "light" : "dark");
  };
}
