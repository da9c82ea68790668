# Areas of a and b of data.csv and the paired DeLong test. Rscript delong.R > delong.json, in this folder.
suppressMessages({library(pROC); library(jsonlite)})
d <- read.csv("data.csv")
curve <- function(p) roc(d$y, p, direction = "<", levels = c(0, 1), quiet = TRUE)
a <- curve(d$a); b <- curve(d$b)
test <- roc.test(a, b, method = "delong", paired = TRUE)
version <- list(R = paste(R.version$major, R.version$minor, sep = "."), pROC = as.character(packageVersion("pROC")))
cat(toJSON(list(source = "delong.R: pROC::auc, var, cov, roc.test", version = version,
                auc = c(auc(a), auc(b)), variance = c(var(a, method = "delong"), var(b, method = "delong")),
                covariance = cov(a, b, method = "delong"), z = unname(test$statistic), p = test$p.value,
                low = test$conf.int[1], high = test$conf.int[2]),
           auto_unbox = TRUE, digits = NA, pretty = TRUE), "\n")
